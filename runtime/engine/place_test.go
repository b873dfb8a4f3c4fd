package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// What a step asks of a host at an address that is not known is shown, and
// neither carried out nor predicted; the host goes from step to step. The host
// of this test does not exist: whatever connects to it fails.
func TestAPreviewOfAHostAtAnUnknownAddress(t *testing.T) {
	tr := newPreview(t)
	out := tr.must(runtime.OK, `
vps = host("vps", system = "x86_64-linux", ssh = "gone.invalid")
def provision(): return ssh.at(vps, local.run(["provision"]).stdout, trust = "first-use")
def use(vps):
    ssh.wait(vps)
    if vps.name == "vps": ssh.put(vps, "/etc/f", "x")
    log(ssh.get(vps, "/etc/f"))
    return ssh.run(vps, ["true"]).stdout
p = plan(hosts = [vps], steps = [step(provision), step(use, needs = [provision])])
`, Options{})
	const note = "(at (known after local.run, a.star:3), trust: first use)"
	want := "local.run change; ssh.wait " + note + "; ssh.put unknown " + note + "; ssh.get " + note + "; ssh.run unknown " + note
	if got := strings.Join(tr.previewed(), "; "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, e := range tr.events {
		if e.Kind == runtime.OpEnded && e.Op.Op.Name != "local.run" && (e.Op.Op.Host != "vps" || e.Op.Op.Needs == nil) {
			t.Errorf("%s on %q needs %v", e.Op.Op.Name, e.Op.Op.Host, e.Op.Op.Needs)
		}
	}
	if out.Totals.Verdicts[runtime.NotKnown] != 2 {
		t.Error(out.Totals.Verdicts)
	}
}

// addresses are machines with locks by the place at which they are.
type addresses struct {
	*machines
	asked []string
}

func (a *addresses) take(ctx context.Context, h *runtime.Host, run, plan string) (HostLock, error) {
	at := "nowhere"
	if h.Place != nil {
		at = h.Place.Address
	}
	a.mu.Lock()
	a.asked = append(a.asked, h.Name+" at "+at)
	a.mu.Unlock()
	return a.machines.take(ctx, &runtime.Host{Name: at}, run, plan)
}

func (r *run) actOn(ctx context.Context, op runtime.Op, do func(context.Context) error) error {
	door := locked(r, func(ctx context.Context, _ runtime.Op) (runtime.Result, error) { return runtime.Result{}, do(ctx) })
	tk := &task{run: r, group: &group{step: &runtime.Step{Name: "s"}}}
	op.Name, op.Host, op.Effect = "x", "vps", runtime.Change
	_, err := door(withTask(ctx, tk), op)
	return err
}

func TestLocksOfHostsAtAPlace(t *testing.T) {
	begin := func(t *testing.T, down bool) (*addresses, *run) {
		a := &addresses{machines: newMachines()}
		a.down["nowhere"] = down
		r := a.claims(t, "1", "vps")
		r.opts.TakeLock = a.take
		if err := r.lockHosts(t.Context(), new(time.Time)); err != nil {
			t.Fatal(err)
		}
		return a, r
	}
	at := func(address string) runtime.Op {
		return runtime.Op{At: (&runtime.Host{Name: "vps"}).At(runtime.Place{Address: address})}
	}
	t.Run("are taken where the operation goes", func(t *testing.T) {
		a, r := begin(t, true)
		for range 2 {
			if err := r.actOn(t.Context(), at("10.0.0.1"), nothing); err != nil || !a.has("10.0.0.1", "1") {
				t.Error(err)
			}
		}
		if got := strings.Join(a.asked, ", "); got != "vps at nowhere, vps at 10.0.0.1" {
			t.Error(got)
		}
		r.locks.release()
		if len(a.holder) != 0 {
			t.Error(a.holder)
		}
	})
	t.Run("of the machine before do not stop the new one", func(t *testing.T) {
		a, r := begin(t, false)
		a.lose("nowhere") // terraform has replaced it
		if err := r.actOn(t.Context(), at("10.0.0.1"), nothing); err != nil || !a.has("10.0.0.1", "1") {
			t.Error(err)
		}
		if err := r.actOn(t.Context(), runtime.Op{}, nothing); err == nil {
			t.Error("it went on at the machine of which the lock was lost")
		}
	})
	t.Run("that an installation ends do not end it", func(t *testing.T) {
		for _, ends := range []bool{true, false} {
			a, r := begin(t, true)
			op := at("10.0.0.1")
			op.EndsHost = ends
			err := r.actOn(t.Context(), op, func(ctx context.Context) error {
				a.lose("10.0.0.1")
				if ends { // give a guard the time to be wrong
					select {
					case <-ctx.Done():
					case <-time.After(50 * time.Millisecond):
					}
					return ctx.Err()
				}
				<-ctx.Done()
				return ctx.Err()
			})
			if (err == nil) != ends || errors.Is(err, runtime.ErrUntold) == ends {
				t.Errorf("ends %v: %v", ends, err)
			}
			if err := r.actOn(t.Context(), at("10.0.0.1"), nothing); (err == nil) != ends {
				t.Errorf("ends %v: and afterwards: %v", ends, err)
			}
		}
	})
	t.Run("are no condition for finding out what became of what ended the host", func(t *testing.T) {
		for name, tt := range map[string]struct {
			locked, back bool
			ends         bool
			begun        bool
			err          string
		}{
			"it is back":         {ends: true, back: true, begun: true},
			"it is down":         {ends: true, err: "it was not begun again: 10.0.0.1 is down; " + runtime.ErrUntold.Error()},
			"another run has it": {ends: true, locked: true, err: "x on vps was not started: 10.0.0.1 is locked by run 2"},
			"it did not end it":  {err: "x on vps was not started: 10.0.0.1 is down"},
		} {
			a, r := begin(t, true)
			if a.down["10.0.0.1"] = !tt.locked; tt.locked {
				a.set("10.0.0.1", "2")
			}
			op, begun := at("10.0.0.1"), false
			op.EndsHost = tt.ends
			op.Run = func(context.Context, io.Writer) (runtime.Result, error) {
				begun = a.has("10.0.0.1", "1")
				return runtime.Result{}, nil
			}
			op.Settle = func(context.Context, io.Writer) (runtime.Fate, runtime.Result, error) {
				a.down["10.0.0.1"] = !tt.back
				return runtime.NotDone, runtime.Result{}, nil
			}
			op.Name, op.Host, op.Effect = "x", "vps", runtime.Change
			door := locked(r, func(ctx context.Context, op runtime.Op) (runtime.Result, error) { return op.Run(ctx, io.Discard) })
			tk := &task{run: r, group: &group{step: &runtime.Step{Name: "s"}}, replay: &replay{}}
			_, err := door(withCut(withTask(t.Context(), tk), journal.Op{}), r.lookedFor(op))
			if begun != tt.begun || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("%s: begun %v under the lock: %v", name, begun, err)
			}
		}
	})
	t.Run("are not asked for where the address was lost", func(t *testing.T) {
		a, r := begin(t, true)
		op := at("10.0.0.1")
		op.Needs = &runtime.Unknown{Op: "terraform.apply"}
		if err := r.actOn(t.Context(), op, nothing); err != nil || fmt.Sprint(a.asked) != "[vps at nowhere]" {
			t.Error(err, a.asked)
		}
	})
}
