// Package engine runs plans: the graph of steps, the workers, and the chain of
// policies round the one door to the world. Every goroutine of a run is
// started here.
package engine

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// ErrSelection: there is no such step or host in the plan.
var ErrSelection = errors.New("no such choice")

// An Engine reads and runs the plans of one project.
type Engine struct {
	root string
	in   *interp.Interp
}

// New makes an engine for the project at root whose plans see the builtins of
// specs.
func New(root string, specs []builtins.Spec) *Engine {
	e := &Engine{root: root}
	e.in = interp.New(root, specs, door)
	return e
}

// Keep has the engine take files that are in p as they are, and leave there what it
// reads. It must be called before the first reading.
func (e *Engine) Keep(p *interp.Programs) { e.in.Programs = p }

// Read reads a plan file, to be run. It has no effect.
func (e *Engine) Read(ctx context.Context, path string) (*interp.File, error) {
	return e.in.Read(ctx, path)
}

// Preview reads a plan file for a dry run: that is what Run makes of it.
func (e *Engine) Preview(ctx context.Context, path string) (*interp.File, error) {
	return e.in.Preview(ctx, path)
}

// PreviewFrom is Preview, and says which files it asked for, also where these are
// at fault.
func (e *Engine) PreviewFrom(ctx context.Context, path string) (*interp.File, []interp.Input, error) {
	return e.in.PreviewFrom(ctx, path)
}

// Resume reads a plan file, to go on with a run of it.
func (e *Engine) Resume(ctx context.Context, path string) (*interp.File, error) {
	return e.in.Resume(ctx, path)
}

// door leads an operation to the run that its step belongs to.
func door(ctx context.Context, op runtime.Op) (runtime.Result, error) {
	t := taskOf(ctx)
	if t == nil {
		return runtime.Result{}, fmt.Errorf("%s was called outside of a run", op.Name)
	}
	return t.run.do(ctx, op)
}

// run is one run of one plan.
type run struct {
	id      string
	file    *interp.File
	plan    *runtime.Plan
	opts    Options
	hosts   map[string]bool // that operations may touch; nil: those of the plan
	started time.Time

	naming sync.Once
	byName map[string]*runtime.Host // the plan's hosts; host makes it

	observes bool // it runs only the checks, and tries those again that do not hold

	expected expected // of the steps, where they were reviewed

	stop context.Context // nothing new starts after it ends
	do   runtime.Do      // the door: every policy round the one that acts

	start   *runtime.RunStart // what readers are told first
	journal *journal.Journal  // nil in a dry run, which writes nothing
	root    string            // of the project
	locks   *hostLocks        // nil where none are taken
	kept    keptLocks

	ops  atomic.Int64
	lost atomic.Pointer[error] // why the journal could not be written
	show sync.Mutex            // readers see one event at a time

	forgets sync.WaitGroup // operations that take away their traces
	totals  runtime.Totals
}

func newRun(file *interp.File, opts Options) *run {
	return &run{
		id: NewID(opts.now()), file: file, plan: file.Plan, opts: opts, started: time.Now(),
		totals: runtime.Totals{Verdicts: map[runtime.Verdict]int{}, Steps: map[runtime.Status]int{}, Checks: map[runtime.Status]int{}},
	}
}

// Run runs a plan, or previews it where it was read for that. The error says
// why it could not begin, or that the journal cannot be written any more; how
// the plan itself ended is the outcome's status.
func (e *Engine) Run(ctx context.Context, file *interp.File, opts Options) (Outcome, error) {
	tasks, err := build(file.Plan, opts.Steps, opts.Hosts)
	if err != nil {
		return Outcome{}, err
	}
	if err := didKnown(file.Plan, opts.Did); err != nil {
		return Outcome{}, err
	}
	r := newRun(file, opts)
	if len(opts.Hosts) > 0 {
		r.hosts = set(opts.Hosts)
	}
	if opts.Past != nil {
		r.id = opts.Past.ID
		r.ops.Store(int64(opts.Past.LastOp))
		r.restore(tasks.groups, opts.Past)
	}
	if err := r.expect(tasks); err != nil {
		return Outcome{}, err
	}
	ownLast(tasks.groups, r.ownHosts(ctx))
	release, err := e.enter(ctx, r, tasks)
	if err != nil {
		return Outcome{}, err
	}
	defer release()
	ctx, cancel := r.contexts(ctx)
	defer cancel()
	return r.all(ctx, tasks)
}

// enter is the only place that knows a dry run from a run: it chooses the
// door, takes the locks and opens the journal.
func (e *Engine) enter(ctx context.Context, r *run, tasks *tasks) (release func(), err error) {
	r.start = &runtime.RunStart{Plan: r.plan, File: r.file.Path, DryRun: r.file.Preview, Steps: tasks.steps}
	if r.file.Preview {
		if r.start.Gates, err = e.gates(r); err != nil {
			return nil, err
		}
		r.do = r.chain(foresee)
		r.opts.Ask = func(context.Context, string) (bool, error) { return true, nil }
		r.opts.MayDestroy = nil
		return func() {}, nil
	}
	r.do = r.chain(carryOut)
	r.start.Checks, r.start.Options, r.start.Sources = tasks.checks, r.opts.Options, r.file.Sources()
	r.root = e.root
	until := new(time.Time) // that the waiting for all locks of the start ends
	unlock, err := r.lockProject(ctx, until)
	if err != nil {
		return nil, err
	}
	if r.journal, err = journal.Open(e.root); err != nil {
		unlock()
		return nil, err
	}
	if err = e.pass(r); err == nil {
		err = r.lockHosts(ctx, until)
	}
	if err == nil {
		err = r.mayReload() // after the waiting, while no other run changes the hosts
	}
	if err != nil {
		unlock()
		r.journal.Close()
		return nil, err
	}
	return func() { r.locks.release(); unlock(); r.journal.Close() }, nil
}

// host returns the plan's host of a name, or nil. Every operation asks.
func (r *run) host(name string) *runtime.Host {
	r.naming.Do(func() {
		r.byName = make(map[string]*runtime.Host, len(r.plan.Hosts))
		for _, h := range r.plan.Hosts {
			r.byName[h.Name] = h
		}
	})
	return r.byName[name]
}

// touched are the hosts that the run may change.
func (r *run) touched() []*runtime.Host {
	var hosts []*runtime.Host
	for _, h := range r.plan.Hosts {
		if r.hosts == nil || r.hosts[h.Name] {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// contexts returns the context of operations, which ends when the grace period
// after a stop is over.
func (r *run) contexts(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.stop = r.opts.Stop
	if r.stop == nil {
		r.stop = ctx
	}
	unwatch := context.AfterFunc(r.stop, func() {
		t := time.AfterFunc(r.opts.Grace, func() { cancel(runtime.ErrInterrupted) })
		context.AfterFunc(ctx, func() { t.Stop() })
	})
	return ctx, func() { unwatch(); cancel(nil) }
}

// all runs the steps and, if they went well, the checks.
func (r *run) all(ctx context.Context, tasks *tasks) (Outcome, error) {
	began := r.opts.instant()
	r.stamp(began)
	begin := runtime.Event{Kind: runtime.RunStarted, Start: r.start, Text: r.opts.Version}
	if r.opts.Past != nil {
		begin.Kind = runtime.RunResumed // readers learn of the steps as they do at a start
	}
	if err := r.emit(begin); err != nil {
		return Outcome{}, err
	}
	r.schedule(ctx, tasks.groups)
	status := r.status()
	if status == runtime.OK {
		r.schedule(ctx, checkGroups(r.start.Checks))
		status = r.status()
	}
	if r.file.Preview {
		r.doubt(tasks.groups)
	}
	r.forgets.Wait()
	out := Outcome{Run: r.id, Status: status, Totals: r.totals, Took: r.took(began)}
	err := r.emit(runtime.Event{Kind: runtime.RunEnded, Status: status, Totals: &out.Totals, Took: out.Took})
	if lost := r.lost.Load(); lost != nil {
		return out, *lost
	}
	return out, err
}

// status sums up what has ended so far.
func (r *run) status() runtime.Status {
	r.show.Lock()
	defer r.show.Unlock()
	switch {
	case r.lost.Load() != nil:
		return runtime.Failed
	case r.totals.Steps[runtime.Interrupted]+r.totals.Checks[runtime.Interrupted] > 0:
		return runtime.Interrupted
	case r.totals.Steps[runtime.Failed] > 0 || r.totals.Checks[runtime.Failed] > 0:
		return runtime.Failed
	case r.totals.Steps[runtime.Held]+r.totals.Checks[runtime.Held] > 0:
		return runtime.Held
	}
	return runtime.OK
}

// emit hands an event to the journal and, once it is on disk, to who watches.
// They see what ended, even where the journal could not be told.
func (r *run) emit(e runtime.Event) error {
	e.Time, e.Run = r.now(), r.id
	lost := r.record(e)
	switch {
	case lost != nil && begins[e.Kind]:
		return lost
	case lost != nil && e.Kind != runtime.OpEnded: // to nobody it may seem to have ended well
		e.Status, e.Err = runtime.Failed, lost
	}
	r.tell(e)
	return lost
}

// now is the time of an event. A preview keeps no record, and needs no more than the
// machine's own clock: to ask the one that nobody can set takes longer than many an operation.
func (r *run) now() time.Time {
	if r.file.Preview {
		return time.Now()
	}
	return r.opts.now()
}

// begins are the events without which nothing may happen.
var begins = map[runtime.EventKind]bool{runtime.RunStarted: true, runtime.RunResumed: true,
	runtime.StepStarted: true, runtime.StepRetried: true, runtime.OpAsked: true}

// record hands an event to the journal. Once the journal could not be told
// something, nothing begins any more: what came after it would hide the gap.
func (r *run) record(e runtime.Event) error {
	if r.journal == nil {
		return nil
	}
	if lost := r.lost.Load(); lost != nil && begins[e.Kind] {
		return *lost
	}
	err := r.journal.Record(e)
	switch {
	case err == nil:
		return nil
	case e.Kind == runtime.OpEnded:
		err = fmt.Errorf("the journal cannot be written, so it lacks how %s ended (%s), which a resumed run will ask about: %w", e.Op.Op.Name, e.Status, err)
	default:
		err = fmt.Errorf("the journal cannot be written, and nothing is done that is not journaled: %w", err)
	}
	r.lost.CompareAndSwap(nil, &err)
	return err
}

// tell hands an event to who watches, and not to the journal.
func (r *run) tell(e runtime.Event) {
	if e.Time.IsZero() {
		e.Time, e.Run = r.now(), r.id
	}
	r.show.Lock()
	defer r.show.Unlock()
	r.count(e)
	if r.opts.Show != nil {
		r.opts.Show(e)
	}
}

// count keeps the totals; r.show is held.
func (r *run) count(e runtime.Event) {
	switch e.Kind {
	case runtime.StepEnded:
		if e.Check {
			r.totals.Checks[e.Status]++
		} else {
			r.totals.Steps[e.Status]++
			if e.Status == runtime.Failed && errors.Is(e.Err, runtime.ErrLocked) {
				r.totals.Locked++
			}
		}
	case runtime.OpEnded:
		r.totals.Ops++
		if e.Op.Changed {
			r.totals.Changed++
		}
		if p := e.Op.Prediction; p != nil {
			r.totals.Verdicts[p.Verdict]++
		}
	case runtime.Doubted:
		r.totals.Verdicts[runtime.NotKnown]++
	}
}

// NewID makes an id that sorts by time and is short enough to type.
func NewID(now time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // it never fails: crypto/rand aborts the program instead
	tail := strings.ToLower(base32.StdEncoding.EncodeToString(b[:])[:4])
	return now.UTC().Format("20060102T150405") + "-" + tail
}

func set(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// isStop says whether err came of the run being stopped.
func isStop(err error) bool {
	return errors.Is(err, runtime.ErrInterrupted) || errors.Is(err, context.Canceled)
}
