package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

const gitFiles = 500

// A repository of two branches in which all files are other ones, but for the
// sentinel, which is of none.
func newRepository(p *place) []string {
	var names []string
	branch := func(text string) {
		for i := range gitFiles {
			name := fmt.Sprintf("d%d/f%d.star", i%20, i)
			p.mkdir(filepath.Dir(name))
			p.write(name, fmt.Sprint(text, i))
			names = append(names, name)
		}
		p.git("add", ".")
		p.git("commit", "-q", "-m", text)
	}
	p.git("init", "-q", "-b", "one")
	p.write(".git/info/exclude", sentinel+"\n")
	branch("one")
	p.git("checkout", "-q", "-b", "two")
	branch("two")
	p.git("checkout", "-q", "one")
	p.write(sentinel, "")
	slices.Sort(names)
	return slices.Compact(names)
}

func (p *place) git(args ...string) {
	p.t.Helper()
	p.run("git", append([]string{"-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "gc.auto=0"}, args...)...)
}

func TestGitCheckout(t *testing.T) {
	needProgram(t, "git")
	t.Parallel()
	for _, m := range modes {
		if m.polled && os.Getenv("WATCH_REPEAT") == "" {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			// Long enough that from one git to the next it is never quiet.
			p := &place{t: t, dir: t.TempDir(), quiet: 400 * time.Millisecond}
			names := newRepository(p)
			p.start(m)
			t.Cleanup(func() { p.check(p.w.Close()) })
			p.check(p.w.Set(m.inputs(p, save{want: names})))
			for range max(1, repetitions(t)/5) {
				p.git("checkout", "-q", "two")
				if got := p.next(); !slices.Equal(got, names) {
					t.Fatalf("%d files are told, want the %d that changed: %q", len(got), len(names), got)
				}
				p.check(p.signal())
				p.git("checkout", "-q", "one")
				p.git("checkout", "-q", "two")
				p.check(p.signal())
				p.git("checkout", "-q", "one")
				if got := p.next(); !slices.Equal(got, names) {
					t.Fatalf("%d files are told, want the %d that changed: %q", len(got), len(names), got)
				}
			}
		})
	}
}

// While git's lock is there, what git does is not over, however long it is quiet.
func TestGitIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"repository", "linked work tree"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &place{t: t, dir: t.TempDir(), quiet: 10 * time.Millisecond}
			git := ".git"
			if name != "repository" {
				git = "elsewhere/worktrees/x"
				p.write(".git", "gitdir: "+git+"\n")
			}
			p.mkdir(git)
			p.mkdir("plans")
			p.write("plans/a.star", "")
			p.write(sentinel, "")
			p.start(mode{})
			p.check(p.w.Set([]Input{{Path: p.path("plans/a.star")}, {Path: p.path(sentinel)}}))
			p.write(git+"/index.lock", "")
			p.write("plans/a.star", "halfway")
			p.waitUntil("git's lock is seen", func() bool { return !p.w.held.IsZero() })
			time.Sleep(5 * p.quiet)
			select {
			case got := <-p.w.Changes():
				t.Fatalf("%q is told while git is at work", got)
			default:
			}
			p.write("plans/a.star", "")
			p.remove(git + "/index.lock")
			p.check(p.signal())

			// What a git left behind that ended too early holds up nobody.
			p.write(git+"/index.lock", "")
			long := time.Now().Add(-time.Hour)
			p.check(os.Chtimes(p.path(git+"/index.lock"), long, long))
			start := time.Now()
			p.check(p.signal())
			if took := time.Since(start); took >= maxLocked {
				t.Errorf("a lock that was left behind held it up for %s", took)
			}

			// And no lock does for ever.
			now := time.Now()
			p.check(os.Chtimes(p.path(git+"/index.lock"), now, now))
			p.check(p.w.do(func() {
				p.w.held = now.Add(-maxLocked - time.Second)
				if p.w.locked(now) {
					t.Error("it is held up for ever")
				}
			}))
		})
	}
}

// waitUntil asks the loop until what it knows is so.
func (p *place) waitUntil(what string, so func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		is := false
		p.check(p.w.do(func() { is = so() }))
		if is {
			return
		}
	}
	p.t.Fatalf("it never is so that %s", what)
}
