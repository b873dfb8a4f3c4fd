package ssh_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/calltest"
	"infra/builtins/internal/command"
	"infra/builtins/ssh"
	"infra/examples/lab/fleet"
	"infra/runtime"
	"infra/runtime/remote"
)

// A unitBench is a plan's view of a host that a systemd runs.
type unitBench struct {
	fleet *fleet.Fleet
	pool  *remote.Pool
}

func (b *unitBench) door(ctx context.Context, id string) *calltest.Door {
	return &calltest.Door{Context: runtime.WithOpID(ctx, id), Names: starlark.StringDict{"host": &runtime.Host{Name: "cinnabar", System: "x86_64-linux"}}}
}

func (b *unitBench) run(ctx context.Context, t *testing.T, id, code string) (runtime.Op, error) {
	d := b.door(ctx, id)
	_, err := d.Run(t, ssh.Specs(b.pool, t.TempDir()), code)
	return d.Ops[0], err
}

func (b *unitBench) on(t *testing.T, script string) string {
	t.Helper()
	out, err := b.fleet.Exec("cinnabar", "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// awaitRan waits until the command has begun.
func (b *unitBench) awaitRan(t *testing.T) {
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if out, err := b.fleet.Exec("cinnabar", "cat", "/root/ran"); err == nil && out != "" {
			return
		}
	}
	t.Error("the command did not begin") // not Fatal: the test itself waits elsewhere
}

// A command of a plan on a host with systemd outlasts us, and is found again.
func TestRunOnSystemd(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("the lab needs root")
	}
	f, err := fleet.Up(context.Background(), fleet.Options{State: filepath.Join(t.TempDir(), "lab"), Net: fleet.RandomNet(), Hosts: []string{"cinnabar"}, Systemd: []string{"cinnabar"}})
	if err != nil {
		t.Fatal(err)
	}
	b := &unitBench{f, remote.NewPool(remote.Config{SSHConfig: f.SSHConfig(), Grace: time.Second})}
	t.Cleanup(func() {
		if err := errors.Join(b.pool.Close(), f.Down()); err != nil {
			t.Error(err)
		}
	})
	const long = `ssh.run(host, "echo x >>/root/ran; echo first; until [ -e /root/go ]; do sleep .05; done; echo last; echo said >&2; exit 3", check = False)`
	t.Run("reads", func(t *testing.T) {
		op, err := b.run(t.Context(), t, "op-0", `ssh.run(host, "true", reads = True)`)
		if err != nil || op.Settle != nil || op.Forget != nil || b.on(t, "ls -d /run/infra || true") != "" {
			t.Errorf("a command that reads is made a unit: %v", err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			b.awaitRan(t)
			cancel(runtime.ErrInterrupted)
		}()
		op, err := b.run(ctx, t, "op-1", long)
		if !errors.Is(err, runtime.ErrInterrupted) || !strings.Contains(err.Error(), "goes on as infra-op-1") {
			t.Fatal(err)
		}
		b.on(t, "touch /root/go")
		var log bytes.Buffer
		ctx = runtime.WithOpID(t.Context(), "op-1")
		fate, res, err := op.Settle(ctx, &log)
		const want = `command_result(stdout = "first\nlast\n", stderr = "said\n", code = 3, changed = True)`
		if err != nil || fate != runtime.Done || !res.Changed || res.Value.String() != want ||
			strings.ReplaceAll(log.String(), "said\n", "") != "first\nlast\n" || !strings.Contains(log.String(), "said\n") {
			t.Errorf("%v, %v, %v, %q", fate, res, err, &log)
		}
		if n := b.on(t, "wc -l </root/ran"); n != "1" {
			t.Errorf("it ran %s times", n)
		}
		op.Forget(ctx)
		if left := b.on(t, "ls -A /run/infra /var/lib/infra/ops | grep op-1 || true"); left != "" {
			t.Errorf("left: %s", left)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		_, err := b.run(t.Context(), t, "op-2", `ssh.run(host, "sleep 300", timeout = "1s")`)
		if !errors.Is(err, command.ErrTimeout) || errors.Is(err, runtime.ErrUntold) {
			t.Error(err)
		}
		if left := b.on(t, "systemctl list-units --no-legend 'infra-*'; pgrep -f 'sleep 30[0]' || true"); left != "" {
			t.Errorf("left: %s", left)
		}
	})
	t.Run("rebooted since", func(t *testing.T) {
		ended, err := b.run(t.Context(), t, "op-3", `ssh.run(host, "echo out")`)
		if err != nil {
			t.Fatal(err)
		}
		failed, err := b.run(t.Context(), t, "op-4", `ssh.run(host, "exit 9")`)
		if err == nil {
			t.Fatal("it does not fail")
		}
		if err := f.Reboot(t.Context(), "cinnabar"); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		fate, res, err := ended.Settle(runtime.WithOpID(t.Context(), "op-3"), &log)
		if err != nil || fate != runtime.Done || !res.Changed || !strings.Contains(log.String(), "was lost when its host went down") {
			t.Errorf("%v, %v, %v, %q", fate, res, err, &log)
		}
		if got := res.Value.String(); !strings.Contains(got, "stdout = (known after ssh.run") || !strings.Contains(got, "code = 0") {
			t.Errorf("got %s", got)
		}
		fate, _, err = failed.Settle(runtime.WithOpID(t.Context(), "op-4"), &log)
		if err == nil || fate != runtime.Done || !strings.Contains(err.Error(), "failed with exit code 9") {
			t.Errorf("%v, %v", fate, err)
		}
	})
	t.Run("never begun", func(t *testing.T) {
		op, err := b.run(t.Context(), t, "op-5", `ssh.run(host, "true")`)
		if err != nil {
			t.Fatal(err)
		}
		fate, _, err := op.Settle(runtime.WithOpID(t.Context(), "op-6"), &bytes.Buffer{})
		if err != nil || fate != runtime.NotDone {
			t.Errorf("%v, %v", fate, err)
		}
	})
	t.Run("power cut", func(t *testing.T) {
		op, err := b.run(t.Context(), t, "op-7", `ssh.run(host, "rm -f /root/ran /root/go; sync")`)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			b.awaitRan(t)
			if err := f.PowerOff("cinnabar"); err != nil {
				t.Error(err)
			}
			cancel(runtime.ErrInterrupted)
		}()
		if _, err := b.run(ctx, t, "op-8", long); err == nil {
			t.Fatal("it ended")
		}
		if err := f.PowerOn(t.Context(), "cinnabar"); err != nil {
			t.Fatal(err)
		}
		b.pool = remote.NewPool(remote.Config{SSHConfig: f.SSHConfig()})
		var log bytes.Buffer
		op, _ = b.run(context.Background(), t, "op-9", `ssh.run(host, "true")`)
		fate, _, err := op.Settle(runtime.WithOpID(t.Context(), "op-8"), &log)
		if err != nil || fate != runtime.Untold || !strings.Contains(log.String(), "not ended when cinnabar went down") {
			t.Errorf("%v, %v, %q", fate, err, &log)
		}
	})
}
