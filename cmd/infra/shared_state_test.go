package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"infra/runtime"
)

// A clone is one person's copy of a repository.
type clone struct {
	*testing.T
	dir, person string
}

// infra runs the program there.
func (c clone) infra(args ...string) ran {
	cmd := exec.Command("infra", args...)
	cmd.Dir = c.dir
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// newClones clones a repository of these files for each person. What their clones record
// is in one folder, to which .infra of each leads.
func newClones(t *testing.T, files map[string]string, persons ...string) (clones []clone) {
	t.Helper()
	dir := t.TempDir()
	git := func(in string, args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", in, "-c", "user.name=Ann", "-c", "user.email=ann@example.org"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	origin, shared := newProject(t, files).dir, filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	git(origin, "init", "-q")
	git(origin, "add", "--all")
	git(origin, "commit", "-q", "-m", "Plans")
	for _, person := range persons {
		c := clone{t, filepath.Join(dir, person), person}
		git(dir, "clone", "-q", origin, c.dir)
		git(c.dir, "config", "user.name", person)
		git(c.dir, "config", "user.email", strings.ToLower(person)+"@example.org")
		if err := os.Symlink(shared, filepath.Join(c.dir, ".infra")); err != nil {
			t.Fatal(err)
		}
		clones = append(clones, c)
	}
	return clones
}

// TestTwoClonesOfOneRecord has two people decide, look and run at once, each in a clone
// of the repository, with one record of all.
func TestTwoClonesOfOneRecord(t *testing.T) {
	t.Parallel()
	const each = 20
	clones := newClones(t, map[string]string{
		"first.star":  `first = plan(steps = [step(lambda: fs.write("made", "by a run"), name = "make")], checks = [check(lambda: True, name = "holds")])`,
		"second.star": `second = plan(after = [approved("window")], steps = [step(lambda: log("second"), name = "it")])`,
	}, "Ann", "Bo")
	words := []string{"go", "no-go"}
	var all sync.WaitGroup
	for _, c := range clones {
		all.Go(func() {
			for i := range each {
				c.does(exitOK, "decide", "window", words[i%2], "--because", fmt.Sprintf("reason %d of %s", i, c.person), "--yes")
			}
		})
		all.Go(func() {
			for range each / 4 {
				c.does(exitOK, "verify", "--pause", "1ms", "first.star")
			}
		})
		all.Go(func() {
			for range each / 4 {
				c.does(exitOK, "run", "--wait", "5m", "first.star")
			}
		})
	}
	all.Wait()

	said, last := map[string]bool{}, (*jsonWord)(nil)
	for _, c := range clones {
		c.does(exitOK, "log", "--verify")
		var doc struct {
			Runs []struct {
				Status   runtime.Status
				Decision *jsonWord
			}
		}
		r := c.does(exitOK, "log", "--all", "--limit", "1000", "--json")
		if err := json.Unmarshal([]byte(r.stdout), &doc); err != nil || len(doc.Runs) != 2*(each+each/4+each/4) {
			t.Fatalf("%s sees %d runs, %v:\n%s", c.person, len(doc.Runs), err, r.stdout)
		}
		last = nil
		for _, run := range doc.Runs {
			if run.Status != runtime.OK {
				t.Errorf("%s sees a run that is %q", c.person, run.Status)
			}
			if d := run.Decision; d != nil {
				said[fmt.Sprintf("%s sees %s by %s: %t", c.person, d.Because, d.By, d.Go)] = true
				last = cmp.Or(last, d) // the newest come first
			}
		}
	}
	for _, c := range clones {
		for i := range 2 * each {
			by := clones[i/each].person
			if want := fmt.Sprintf("%s sees reason %d of %s by %s <%s@example.org>: %t", c.person, i%each, by, by, strings.ToLower(by), i%2 == 0); !said[want] {
				t.Errorf("it is lost that %s", want)
			}
		}
		c.does(exitHeld, "run", "second.star").says(t, `approved("window"): `+last.By+" decided no-go: "+last.Because)
	}
	clones[0].does(exitOK, "decide", "window", "go", "--because", "all is said", "--yes")
	clones[1].does(exitOK, "run", "second.star").says(t, "")
}

// says wants a text among the words.
func (r ran) says(t *testing.T, text string) {
	t.Helper()
	if !strings.Contains(r.stderr, text) {
		t.Errorf("it does not say %q:\n%s", text, r.stderr)
	}
}

// does runs the program there, and wants an exit code.
func (c clone) does(code int, args ...string) ran {
	r := c.infra(args...)
	if r.code != code {
		c.Errorf("%s: infra %q ends with %d, want %d:\n%s%s", c.person, args, r.code, code, r.stdout, r.stderr)
	}
	return r
}
