package remote

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"infra/runtime"
)

func TestLocalRun(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("INHERITED", "yes")
	for _, c := range []struct {
		name           string
		cmd            Command
		exit           Exit
		stdout, stderr string
	}{
		{"arguments", Command{Argv: []string{"printf", "<%s>", "a b", "", "'", "$x", "\n"}}, Exit{}, "<a b><><'><$x><\n>", ""},
		{"exit", Command{Argv: []string{"sh", "-c", "echo out; echo err >&2; exit 255"}}, Exit{Code: 255}, "out\n", "err\n"},
		{"signal", Command{Argv: []string{"sh", "-c", "kill -TERM $$"}}, Exit{143, "TERM"}, "", ""},
		{"input", Command{Argv: []string{"cat"}, Stdin: runtime.PlainText("a\x00b")}, Exit{}, "a\x00b", ""},
		{"unread input", Command{Argv: []string{"true"}, Stdin: runtime.PlainText(strings.Repeat("x", 1<<20))}, Exit{}, "", ""},
		{"no input", Command{Argv: []string{"cat"}}, Exit{}, "", ""},
		{"folder", Command{Argv: []string{"pwd"}, Dir: dir}, Exit{}, dir + "\n", ""},
		{"environment", Command{Argv: []string{"sh", "-c", `echo "$INHERITED $ADDED"`},
			Env: map[string]runtime.Text{"ADDED": runtime.PlainText("too")}}, Exit{}, "yes too\n", ""},
	} {
		var stdout, stderr bytes.Buffer
		c.cmd.Stdout, c.cmd.Stderr = &stdout, &stderr
		exit, err := Run(inTime(t), c.cmd)
		if err != nil || exit != c.exit || stdout.String() != c.stdout || stderr.String() != c.stderr {
			t.Errorf("%s: got %v, %v, %q, %q", c.name, exit, err, &stdout, &stderr)
		}
	}
}

func TestLocalRunCannotStart(t *testing.T) {
	_, err := Run(t.Context(), Command{Argv: []string{"no-such-program"}})
	complains(t, err, "no-such-program is not installed (not on PATH)", "")
	if !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("%v is no exec.ErrNotFound", err)
	}
	_, err = Run(t.Context(), Command{Argv: []string{"true"}, Dir: "/no/such"})
	complains(t, err, "starting true in /no/such", "")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("changed my mind")
	cancel(why)
	if _, err = Run(ctx, Command{Argv: []string{"touch", filepath.Join(t.TempDir(), "x")}}); !errors.Is(err, why) {
		t.Error(err)
	}
}

func TestLocalCancel(t *testing.T) {
	for _, c := range []struct {
		name, script string
		code         int
		least        time.Duration
	}{
		{"group", "sleep 300 & sleep 300 & echo up; wait", 143, 0},
		{"deaf", "trap '' TERM; echo up; sleep 300; sleep 300; sleep 300", 137, 300 * time.Millisecond},
		{"cleans up", "trap 'exit 9' TERM; sleep 300 & echo up; wait", 9, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, out := marker(), newSignalled()
			ctx, cancel := context.WithCancelCause(inTime(t))
			why := errors.New("changed my mind")
			go func() { <-out.came; cancel(why) }()
			began := time.Now()
			exit, err := runLocal(ctx, Command{Argv: []string{"sh", "-c", c.script, id}, Stdout: out}, 300*time.Millisecond)
			if !errors.Is(err, why) || exit.Code != c.code || time.Since(began) < c.least {
				t.Errorf("got %v, %v after %s", exit, err, time.Since(began))
			}
			if found := processes(id); len(found) > 0 {
				t.Errorf("left behind: %q", found)
			}
		})
	}
}

// What a command leaves running ends with it.
func TestLocalGroupEndsWithCommand(t *testing.T) {
	t.Parallel()
	id := marker()
	began := time.Now()
	var out bytes.Buffer
	exit, err := Run(inTime(t), Command{Argv: []string{"sh", "-c", "sh -c 'sleep 300; :' " + id + " & echo started"}, Stdout: &out})
	if err != nil || exit.Code != 0 || out.String() != "started\n" {
		t.Errorf("got %v, %v, %q", exit, err, &out)
	}
	if took := time.Since(began); took > hang {
		t.Errorf("took %s", took)
	}
	eventually(t, "the child has ended", func() bool { return len(processes(id)) == 0 })
}

// TestMain lets the test binary be the infra that dies in
// TestLocalCommandEndsWithUs.
func TestMain(m *testing.M) {
	if id := os.Getenv("INFRA_TEST_DIES"); id != "" {
		_, err := Run(context.Background(), Command{Argv: []string{"sh", "-c", "sh -c 'sleep 300; :' " + id + " & echo up; wait", id}, Stdout: os.Stdout})
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = flag.Set("test.parallel", "8") // they wait more than they compute; the command line comes later, and counts
	os.Exit(m.Run())
}

func TestLocalCommandEndsWithUs(t *testing.T) {
	id := marker()
	infra := exec.Command(os.Args[0])
	infra.Env = append(os.Environ(), "INFRA_TEST_DIES="+id)
	stdout, err := infra.StdoutPipe()
	must(t, err)
	must(t, infra.Start())
	_, err = stdout.Read(make([]byte, 3))
	must(t, err)
	if len(processes(id)) < 2 {
		t.Errorf("the marker is not seen while the command runs")
	}
	must(t, infra.Process.Kill())
	_ = infra.Wait()
	eventually(t, "the command and its child have ended", func() bool { return len(processes(id)) == 0 })
}
