package watch

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	infra "infra/runtime"
)

// TestLimits runs TestAtALimit in a user namespace, whose limits are its own.
func TestLimits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ limit, value, sysctl string }{
		{"max_inotify_watches", "0", "fs.inotify.max_user_watches"},
		{"max_inotify_watches", "12", "fs.inotify.max_user_watches"},
		{"max_inotify_instances", "0", "fs.inotify.max_user_instances"},
	} {
		t.Run(tt.limit+" "+tt.value, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestAtALimit$", "-test.v")
			cmd.Env = append(os.Environ(), "WATCH_LIMIT="+tt.limit, "WATCH_LIMIT_VALUE="+tt.value, "WATCH_LIMIT_SYSCTL="+tt.sysctl)
			one := func(id int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: id, Size: 1}} }
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: one(os.Getuid()), GidMappings: one(os.Getgid())}
			out, err := cmd.CombinedOutput()
			switch {
			case strings.Contains(string(out), noNamespace), err != nil && len(out) == 0:
				t.Skip("there are no user namespaces: ", err)
			case err != nil || !strings.Contains(string(out), "--- PASS: TestAtALimit"):
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

const noNamespace = "the limit cannot be set"

// At a limit there is one warning, which names the sysctl, and all is told as it
// would be.
func TestAtALimit(t *testing.T) {
	limit, sysctl := os.Getenv("WATCH_LIMIT"), os.Getenv("WATCH_LIMIT_SYSCTL")
	if limit == "" {
		t.Skip("it is run by TestLimits")
	}
	if err := os.WriteFile("/proc/sys/user/"+limit, []byte(os.Getenv("WATCH_LIMIT_VALUE")), 0o644); err != nil {
		t.Fatal(noNamespace, err)
	}
	warned := make(chan error, 100)
	p := &place{t: t, dir: t.TempDir()}
	p.w = newWatcher(t, Options{Quiet: 100 * time.Millisecond, Poll: 20 * time.Millisecond, Warn: func(err error) { warned <- err }})
	p.write("plan.star", "content")
	p.write(sentinel, "")
	for i := range 20 {
		p.mkdir(fmt.Sprint("tree/", i))
		p.write(fmt.Sprint("tree/", i, "/a"), "content")
	}
	p.check(p.w.Set([]Input{{Path: p.path("plan.star")}, {Path: p.path(sentinel)}, {Path: p.path("tree"), Tree: true}}))
	p.check(p.signal())
	p.write("plan.star", "changed")
	p.write("tree/7/a", "changed")
	p.check(os.Chtimes(p.path("tree/8/a"), time.Now(), time.Now()))
	p.remove("tree/9")
	p.mkdir("tree/new/deep")
	p.write("tree/new/deep/a", "new")
	if got, want := p.next(), []string{"plan.star", "tree/7/a", "tree/9/a", "tree/new/deep/a"}; !slices.Equal(got, want) {
		t.Errorf("%q is told, want %q", got, want)
	}
	p.check(p.signal())
	err := <-warned
	t.Log(err)
	if !strings.Contains(err.Error(), sysctl) || !strings.Contains(infra.HintOf(err), sysctl) {
		t.Errorf("%v (%s), want the sysctl %s", err, infra.HintOf(err), sysctl)
	}
	if len(warned) > 0 {
		t.Errorf("warned again: %v", <-warned)
	}
}
