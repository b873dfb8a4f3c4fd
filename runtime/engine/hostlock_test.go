package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"infra/runtime"
	"infra/runtime/interp"
)

// machines are hosts with locks, in memory.
type machines struct {
	mu     sync.Mutex
	holder map[string]string // the run that has a host's lock
	boots  map[string]int
	down   map[string]bool
	lost   map[string]chan struct{}
	taken  []string
	asked  map[string]int
	since  map[string]time.Time // of the holders of whom that is known
	before func()               // is called when a host is asked
}

func newMachines() *machines {
	return &machines{holder: map[string]string{}, boots: map[string]int{}, down: map[string]bool{}, lost: map[string]chan struct{}{},
		asked: map[string]int{}, since: map[string]time.Time{}, before: func() {}}
}

type heldError struct {
	host, by string
	held     time.Duration
}

func (e heldError) Error() string  { return e.host + " is locked by run " + e.by }
func (e heldError) Unwrap() error  { return runtime.ErrLocked }
func (e heldError) HeldBy() string { return e.by }

func (e heldError) HeldFor() time.Duration { return e.held }

func (m *machines) take(_ context.Context, h *runtime.Host, run, _ string) (HostLock, error) {
	m.before()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked[h.Name]++
	switch {
	case m.down[h.Name]:
		return HostLock{}, errors.New(h.Name + " is down")
	case m.holder[h.Name] != "":
		refusal := heldError{host: h.Name, by: m.holder[h.Name]}
		if since, known := m.since[h.Name]; known {
			refusal.held = time.Since(since)
		}
		return HostLock{}, refusal
	}
	lost := make(chan struct{})
	m.holder[h.Name], m.lost[h.Name] = run, lost
	m.taken = append(m.taken, h.Name)
	return HostLock{
		Lost: lost, Boot: fmt.Sprint("boot ", m.boots[h.Name]),
		Err: func() error { return fmt.Errorf("the lock of %s was lost", h.Name) },
		Release: func() error {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.holder[h.Name] == run {
				delete(m.holder, h.Name)
			}
			return nil
		},
	}, nil
}

// lose ends the holding of a host's lock.
func (m *machines) lose(host string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.holder, host)
	close(m.lost[host])
}

func (m *machines) set(host, holder string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holder[host] = holder; holder == "" {
		delete(m.holder, host)
	}
}

// claims are those of a run with these hosts.
func (m *machines) claims(t *testing.T, id string, hosts ...string) *run {
	t.Helper()
	r := &run{id: id, plan: &runtime.Plan{}, stop: t.Context(), opts: Options{TakeLock: m.take}, file: &interp.File{Path: "a.star"}}
	for _, h := range hosts {
		r.plan.Hosts = append(r.plan.Hosts, &runtime.Host{Name: h})
	}
	return r
}

func (r *run) act(ctx context.Context, effect runtime.Effect, host string, do func(context.Context) error) error {
	door := locked(r, func(ctx context.Context, _ runtime.Op) (runtime.Result, error) { return runtime.Result{}, do(ctx) })
	tk := &task{run: r, group: &group{step: &runtime.Step{Name: "s"}}}
	_, err := door(withTask(ctx, tk), runtime.Op{Name: "x", Host: host, Effect: effect})
	return err
}

func nothing(context.Context) error { return nil }

func TestLocksOfHosts(t *testing.T) {
	t.Run("are held from the start to the end", func(t *testing.T) {
		m := newMachines()
		r := m.claims(t, "1", "a", "b", "c")
		if err := r.lockHosts(t.Context(), new(time.Time)); err != nil || len(m.holder) != 3 {
			t.Fatal(err, m.holder)
		}
		if err := r.act(t.Context(), runtime.Change, "b", nothing); err != nil || len(m.taken) != 3 {
			t.Error(err, m.taken)
		}
		r.locks.release()
		if len(m.holder) != 0 {
			t.Error(m.holder)
		}
	})
	t.Run("all or none", func(t *testing.T) {
		m := newMachines()
		m.set("b", "0")
		r := m.claims(t, "1", "a", "b", "c")
		if err := r.lockHosts(t.Context(), new(time.Time)); !errors.Is(err, runtime.ErrLocked) || len(m.holder) != 1 || r.locks != nil {
			t.Error(err, m.holder)
		}
	})
	t.Run("are taken side by side", func(t *testing.T) {
		m := newMachines()
		r := m.claims(t, "1", "a", "b", "c")
		asked, all := make(chan bool, 3), make(chan bool)
		m.before = func() { asked <- true; <-all } // nobody is answered before all are asked
		go func() {
			defer close(all)
			for range 3 {
				select {
				case <-asked:
				case <-time.After(time.Minute):
					t.Error("one waits for the answer of another")
					return
				}
			}
		}()
		if err := r.lockHosts(t.Context(), new(time.Time)); err != nil || len(m.holder) != 3 {
			t.Error(err, m.holder)
		}
	})
	t.Run("the younger that is at work refuses the older at once", func(t *testing.T) {
		for hosts, since := range map[string]time.Time{"a b c": time.Now().Add(-time.Hour), "a": {}} {
			m := newMachines()
			m.set("a", "2")
			if !since.IsZero() {
				m.since["a"] = since
			}
			r := m.claims(t, "1", strings.Fields(hosts)...)
			if err := r.lockHosts(t.Context(), new(time.Time)); !errors.Is(err, runtime.ErrLocked) || len(m.holder) != 1 || m.asked["a"] != 1 {
				t.Error(err, m.holder, m.asked)
			}
		}
	})
	t.Run("the older waits for the younger to give up", func(t *testing.T) {
		m := newMachines()
		m.set("b", "2")
		r := m.claims(t, "1", "a", "b")
		go func() {
			for !m.has("a", "1") {
				time.Sleep(time.Millisecond)
			}
			m.set("b", "")
		}()
		if err := r.lockHosts(t.Context(), new(time.Time)); err != nil {
			t.Error(err)
		}
	})
	t.Run("are waited for while none is held", func(t *testing.T) {
		m := newMachines()
		m.set("b", "0")
		r := m.claims(t, "1", "a", "b")
		said := make(chan string, 10)
		r.opts.Wait, r.opts.Show = 20*time.Second, func(e runtime.Event) {
			if m.has("a", "1") {
				t.Error("it holds a lock while it waits")
			}
			said <- string(e.Kind) + " " + e.Text
		}
		go func() {
			if got := <-said; !strings.HasPrefix(got, "waiting b is locked by run 0; it is waited for until ") {
				t.Error(got)
			}
			m.set("b", "")
		}()
		if err := r.lockHosts(t.Context(), new(time.Time)); err != nil || !m.has("a", "1") || !m.has("b", "1") {
			t.Error(err, m.holder)
		}
	})
	t.Run("are taken late on a host that was down", func(t *testing.T) {
		m := newMachines()
		m.down["b"] = true
		r := m.claims(t, "1", "a", "b")
		if err := r.lockHosts(t.Context(), new(time.Time)); err != nil {
			t.Fatal(err)
		}
		if err := r.act(t.Context(), runtime.Read, "b", nothing); err != nil {
			t.Error("a read: ", err)
		}
		err := r.act(t.Context(), runtime.Build, "b", nothing)
		if err == nil || err.Error() != "x on b was not started: b is down" || !errors.As(err, new(notStarted)) {
			t.Error(err)
		}
		m.down["b"] = false
		if err := r.act(t.Context(), runtime.Build, "b", nothing); err != nil || !m.has("b", "1") {
			t.Error(err)
		}
	})
	t.Run("that were lost end what runs, and nothing new starts", func(t *testing.T) {
		m := newMachines()
		r := m.claims(t, "1", "a", "b")
		if err := r.lockHosts(t.Context(), new(time.Time)); err != nil {
			t.Fatal(err)
		}
		err := r.act(t.Context(), runtime.Change, "a", func(ctx context.Context) error {
			m.lose("a")
			<-ctx.Done()
			return ctx.Err() // and not its cause
		})
		if !errors.Is(err, runtime.ErrUntold) || !strings.Contains(err.Error(), "the lock of a was lost") {
			t.Error(err)
		}
		for range 2 {
			err = r.act(t.Context(), runtime.Change, "a", func(context.Context) error { t.Error("it was started"); return nil })
			if err == nil || err.Error() != "x on a was not started: the lock of a was lost" || !strings.Contains(runtime.HintOf(err), "infra resume 1 takes the lock again") {
				t.Error(err, runtime.HintOf(err))
			}
			m.boots["a"]++ // a boot that comes later is not why it was lost
		}
		if err := r.act(t.Context(), runtime.Change, "b", nothing); err != nil || m.has("a", "1") {
			t.Error(err)
		}
	})
	t.Run("are taken again after a boot of the host", func(t *testing.T) {
		m := newMachines()
		r := m.claims(t, "1", "a")
		if err := r.lockHosts(t.Context(), new(time.Time)); err != nil {
			t.Fatal(err)
		}
		m.lose("a")
		m.down["a"] = true
		if err := r.act(t.Context(), runtime.Change, "a", nothing); err == nil || !strings.Contains(err.Error(), "taking it again: a is down") {
			t.Error(err)
		}
		m.down["a"], m.boots["a"] = false, 1
		if err := r.act(t.Context(), runtime.Change, "a", nothing); err != nil || !m.has("a", "1") {
			t.Error(err)
		}
	})
}

// Of runs that begin at the same time and want some of the same hosts, one goes
// on. Of two it is exactly one, or both where they want no host in common.
func TestLocksOfRandomRuns(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for seed := range uint64(200) {
		all.Go(func() { lockRandomly(t, seed) })
	}
	all.Wait()
}

func lockRandomly(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	m := newMachines()
	m.before = func() { time.Sleep(rand.N(3 * time.Millisecond)) } // the network
	runs := make([]*run, 2+seed%2)
	errs := make([]error, len(runs))
	var all sync.WaitGroup
	for i := range runs {
		hosts := strings.Fields("a b c d e f g h")
		random.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
		runs[i] = m.claims(t, strconv.Itoa(i), hosts[:1+random.IntN(len(hosts))]...)
	}
	for i, r := range runs {
		all.Go(func() { errs[i] = r.lockHosts(t.Context(), new(time.Time)) })
	}
	all.Wait()
	going := map[string]bool{} // the hosts of runs that go on
	for i, r := range runs {
		for _, h := range r.plan.Hosts {
			if m.has(h.Name, r.id) != (errs[i] == nil) {
				t.Errorf("seed %d: run %d ended with %v, and of %s that it holds it is %v", seed, i, errs[i], h.Name, m.has(h.Name, r.id))
			}
			going[h.Name] = going[h.Name] || errs[i] == nil
		}
	}
	if len(going) == 0 || len(m.holder) == 0 {
		t.Errorf("seed %d: none goes on: %v", seed, errs)
	}
	for i, r := range runs {
		if errs[i] != nil && !errors.Is(errs[i], runtime.ErrLocked) {
			t.Errorf("seed %d: %v", seed, errs[i])
		}
		if len(runs) == 2 && errs[i] != nil && !slices.ContainsFunc(r.plan.Hosts, func(h *runtime.Host) bool { return going[h.Name] }) {
			t.Errorf("seed %d: run %d is refused for nothing: %v", seed, i, errs[i])
		}
	}
}

func (m *machines) has(host, run string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.holder[host] == run
}

// A named lock holds between the runs of a project.
func TestNamedLocksOfTwoRuns(t *testing.T) {
	const plan = "def f(): local.run([\"true\"])\np = plan(steps = [step(f, locks = [\"the disk/1\"])])"
	for _, wait := range []time.Duration{0, 20 * time.Second} {
		tr := newTrial(t)
		second := &trial{T: t, root: tr.root}
		ended := make(chan Outcome, 1)
		tr.must(runtime.OK, plan, Options{Show: func(e runtime.Event) {
			if e.Kind != runtime.OpAsked {
				return
			}
			waits := make(chan bool, 10)
			go func() {
				out, err := second.run(plan, Options{Wait: wait, Show: func(e runtime.Event) {
					if e.Kind == runtime.Waiting && e.Step == "f" && strings.Contains(e.Text, `holds the lock "the disk/1"`) {
						waits <- true
					}
				}})
				if err != nil {
					t.Error(err)
				}
				waits <- false
				ended <- out
			}()
			if <-waits != (wait > 0) {
				t.Errorf("with --wait %s: %q", wait, second.ends())
			}
		}})
		out := <-ended
		if want := map[bool]runtime.Status{false: runtime.Failed, true: runtime.OK}[wait > 0]; out.Status != want {
			t.Errorf("with --wait %s it ended as %s", wait, out.Status)
		}
		if wait == 0 && (out.Totals.Locked != 1 || !strings.Contains(second.end("f"), `process `)) {
			t.Error(out.Totals, second.ends())
		}
		if left, _ := filepath.Glob(filepath.Join(tr.root, ".infra", "locks", "*")); left != nil {
			t.Errorf("locks are left: %q", left)
		}
	}
}
