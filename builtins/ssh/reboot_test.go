package ssh_test

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"infra/builtins/internal/calltest"
	"infra/builtins/ssh"
	"infra/runtime"
)

// The sshd of these tests is on this machine: nothing here carries a reboot out.

func TestRebootInADryRun(t *testing.T) {
	b := newBench(t)
	d := b.door(true)
	globals := d.Must(t, ssh.Specs(b.pool, b.root), `
x = ssh.reboot(mac, timeout = "1m")
done = [x.changed, str(x.boot_id)]
`)
	if got := globals["done"].String(); !strings.HasPrefix(got, `[True, "(known after ssh.reboot, test.star:2`) {
		t.Error(got)
	}
	const args = ` | {"host":"mac","timeout":"1m0s"}`
	want := []string{
		"read ssh.reboot.before mac | the boot that mac is in" + args,
		"change ssh.reboot mac | mac ends all that runs there, and is back within 1m0s" + args,
		"change ssh.reboot.after mac | mac answers and is locked again" + args,
	}
	for i, op := range d.Ops {
		if got := calltest.Line(t, op); i >= len(want) || got != want[i] {
			t.Errorf("got %s", got)
		}
		if op.Name == "ssh.reboot" && (op.Repeatable || !op.EndsHost || op.Alters != nil) {
			t.Errorf("it is repeatable %v, ends its host %v, alters %v", op.Repeatable, op.EndsHost, op.Alters)
		}
	}
	if len(d.Ops) != len(want) || d.Predictions[0].Verdict != runtime.WillChange || d.Predictions[1].Verdict != runtime.NoChange {
		t.Error(len(d.Ops), d.Predictions)
	}
	if _, err := d.Run(t, ssh.Specs(b.pool, b.root), `ssh.reboot(mac, timeout = "0s")`); err == nil || !strings.Contains(err.Error(), "want more than 0s") {
		t.Error(err)
	}
}

// What looks for a reboot never takes the boot of before for another one, and does
// not give the operation up where the host stays away.
func TestRebootIsLookedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.door(true)
	d.Must(t, ssh.Specs(b.pool, b.root), `
ssh.reboot(mac, timeout = "20s")
ssh.reboot(mac, timeout = "1s")
`)
	settle := d.Ops[1].Settle
	if fate, _, err := settle(t.Context(), io.Discard); fate != runtime.NotDone || err != nil {
		t.Error(fate, err)
	}
	silence(t, b)
	if fate, _, err := settle(t.Context(), io.Discard); fate != runtime.NotDone || err != nil {
		t.Error("the connection is silent: ", fate, err)
	}
	settle = d.Ops[4].Settle
	b.server.Stop() // which leaves its connections alone
	if err := b.pool.Drop(t.Context(), &runtime.Host{Name: "mac"}); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	fate, _, err := settle(t.Context(), &log)
	if fate != runtime.Untold || !errors.Is(err, runtime.ErrUntold) || !strings.Contains(err.Error(), "it has not come back within 1s; at last: cannot reach") ||
		!strings.Contains(runtime.HintOf(err), "console") {
		t.Error(fate, err)
	}
	if n := strings.Count(log.String(), "connection refused"); n != 1 {
		t.Errorf("it says %d times that it is refused:\n%s", n, log.String())
	}
}

// silence makes the connection one that nothing says is dead.
func silence(t *testing.T, b *bench) {
	t.Helper()
	said, err := b.pool.Output(t.Context(), &runtime.Host{Name: "mac"}, "sh", "-c", "ps -o ppid= -p $(ps -o ppid= -p $PPID)")
	if err != nil {
		t.Fatal(err)
	}
	sshd, err := strconv.Atoi(strings.TrimSpace(said))
	if err == nil {
		err = syscall.Kill(sshd, syscall.SIGSTOP)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(sshd, syscall.SIGKILL) })
}
