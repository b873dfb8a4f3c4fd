package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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
		{"another environment", Command{Argv: []string{"sh", "-c", `echo "$INHERITED $ONLY $ADDED"`}, Environ: []string{"ONLY=this", "ADDED=first"},
			Env: map[string]runtime.Text{"ADDED": runtime.PlainText("too")}}, Exit{}, " this too\n", ""},
		{"no environment", Command{Argv: []string{"env"}, Environ: []string{}}, Exit{}, "", ""},
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
			exit, err := Run(ctx, Command{Argv: []string{"sh", "-c", c.script, id}, Stdout: out, Grace: 300 * time.Millisecond})
			if took := time.Since(began); !errors.Is(err, why) || exit.Code != c.code || took < c.least || took > DefaultGrace {
				t.Errorf("got %v, %v after %s", exit, err, took)
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

// A file is the command's own output: nobody stands between, whose end would
// have to be waited for.
func TestLocalRunIntoFile(t *testing.T) {
	t.Parallel()
	id, name := marker(), filepath.Join(t.TempDir(), "out")
	file, err := os.Create(name)
	must(t, err)
	defer file.Close()
	began := time.Now()
	const script = `setsid sh -c 'echo $$; exec sleep 300' & [ /dev/fd/1 -ef "$1" ] && [ /dev/fd/2 -ef "$1" ] && while ! [ -s "$1" ]; do sleep 0.01; done`
	exit, err := Run(inTime(t), Command{Argv: []string{"sh", "-c", script, id, name}, Stdout: file, Stderr: file})
	if took := time.Since(began); err != nil || exit.Code != 0 || took > outputDelay {
		t.Errorf("got %v, %v after %s", exit, err, took)
	}
	var pid int
	text, err := os.ReadFile(name)
	must(t, err)
	_, err = fmt.Sscan(string(text), &pid)
	must(t, err)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("what holds the file had ended before: %v", err)
	}
}

// TestMain lets the test binary be the infra that dies in
// TestLocalCommandEndsWithUs.
func TestMain(m *testing.M) {
	if folder := os.Getenv("INFRA_TEST_GRACES"); folder != "" {
		runDeaf(folder)
	}
	if id := os.Getenv("INFRA_TEST_DIES"); id != "" {
		runFamily(id)
	}
	_ = flag.Set("test.parallel", "8") // they wait more than they compute; the command line comes later, and counts
	os.Exit(m.Run())
}

// runFamily runs a command with a child, and says when both are there.
func runFamily(id string) {
	out := newSignalled()
	_, err := Spawn(Command{Argv: []string{"sh", "-c", "sh -c 'sleep 300; :' " + id + " & echo up; wait", id}, Stdout: out})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	<-out.came
	fmt.Println("up")
	select {}
}

func TestLocalCommandEndsWithUs(t *testing.T) {
	id := marker()
	infra := exec.Command(os.Args[0])
	infra.Env = append(os.Environ(), "INFRA_TEST_DIES="+id)
	stdout, err := infra.StdoutPipe()
	must(t, err)
	must(t, infra.Start())
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "up\n" {
		t.Fatal(line, err)
	}
	if len(processes(id)) < 2 {
		t.Errorf("the marker is not seen while the command runs")
	}
	must(t, infra.Process.Kill())
	_ = infra.Wait()
	eventually(t, "the command and its child have ended", func() bool { return len(processes(id)) == 0 })
}

// runDeaf runs two commands that note each TERM in the folder and go on, one
// with a short grace and one with a long one.
func runDeaf(folder string) {
	const script = `trap 'echo TERM >>"$1.heard"' TERM; echo $$ >"$1.new"; mv "$1.new" "$1"; while :; do sleep 0.05; done`
	for name, grace := range map[string]time.Duration{"short": time.Second, "long": time.Hour} {
		if _, err := Spawn(Command{Argv: []string{"sh", "-c", script, "sh", filepath.Join(folder, name)}, Grace: grace}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fmt.Println("spawned")
	select {}
}

// A command that outlives infra has its own grace.
func TestLocalGraceWithoutUs(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	infra := exec.Command(os.Args[0])
	infra.Env = append(os.Environ(), "INFRA_TEST_GRACES="+folder)
	stdout, err := infra.StdoutPipe()
	must(t, err)
	must(t, infra.Start())
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "spawned\n" {
		t.Fatal(line, err)
	}
	short, long := filepath.Join(folder, "short"), filepath.Join(folder, "long")
	for _, up := range []string{short, long} {
		eventually(t, up+" is up", func() bool { _, err := os.Stat(up); return err == nil })
	}
	pid, err := os.ReadFile(long)
	must(t, err)
	group, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	must(t, err)
	t.Cleanup(func() { _ = syscall.Kill(-group, syscall.SIGKILL) })
	dies := time.Now()
	must(t, infra.Process.Kill())
	_ = infra.Wait()
	eventually(t, "the short grace is over", func() bool { return len(processes(short)) == 0 })
	if took := time.Since(dies); took < 900*time.Millisecond || took > DefaultGrace {
		t.Errorf("the short grace took %s", took)
	}
	if len(processes(long)) == 0 {
		t.Error("the long grace ended with the short one")
	}
	for _, name := range []string{short, long} {
		if heard, err := os.ReadFile(name + ".heard"); err != nil || string(heard) != "TERM\n" {
			t.Errorf("%s heard %q, %v", name, heard, err)
		}
	}
}
