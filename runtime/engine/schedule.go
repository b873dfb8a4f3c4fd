package engine

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// defaultJobs is how many steps run at once where nobody says: they mostly
// wait for hosts.
const defaultJobs = 64

// A scheduler starts tasks when what they need has ended and the rules of
// their step allow it. Everything it knows is touched by its own goroutine
// only; workers tell it how they ended.
type scheduler struct {
	run     *run
	ctx     context.Context
	jobs    int
	active  int
	left    int        // tasks that have not ended
	ready   *list.List // of *group: those with something to start
	locks   map[string]bool
	work    chan *task // to workers that have ended another task
	idle    int        // such workers
	ended   chan ending
	answers chan func()
	stopped bool
	failed  *task // of a plan that takes back what was done then: nothing new starts
}

// ending is how a task ended.
type ending struct {
	task   *task
	status runtime.Status
	value  starlark.Value
}

// schedule runs the tasks of groups until every one has ended.
func (r *run) schedule(ctx context.Context, groups []*group) {
	s := &scheduler{
		run: r, ctx: ctx, jobs: r.opts.Jobs, ready: list.New(),
		locks: map[string]bool{}, work: make(chan *task), ended: make(chan ending), answers: make(chan func(), len(groups)),
	}
	defer close(s.work)
	if s.jobs <= 0 {
		s.jobs = defaultJobs
	}
	for _, g := range groups {
		for _, t := range g.tasks {
			t.run = r
			if t.status == runtime.OK {
				s.restored(t)
			} else {
				s.left++
			}
		}
	}
	for _, g := range groups {
		for _, t := range g.tasks {
			if t.waiting == 0 && t.status == "" {
				s.enqueue(t)
			}
		}
	}
	stop := r.stop.Done()
	for {
		s.start()
		if s.left == 0 {
			return
		}
		select {
		case e := <-s.ended:
			s.active--
			s.idle++
			e.task.group.active--
			s.unlock(e.task.group)
			e.task.value = e.value
			s.finish(e.task, e.status)
		case answered := <-s.answers:
			answered()
		case <-stop:
			stop = nil
			s.stopped = true
			s.run.tell(runtime.Event{Kind: runtime.Stopping})
		}
	}
}

// restored lets go on what waited for a task that an earlier process ended.
func (s *scheduler) restored(t *task) {
	s.note(t)
	for _, n := range t.next {
		n.waiting--
	}
	e := t.event(runtime.StepRestored)
	e.Status = runtime.OK
	s.run.tell(e)
}

// enqueue makes a task ready; canaries go before the others of their step, the own
// machine after them.
func (s *scheduler) enqueue(t *task) {
	g := t.group
	switch last := len(g.queue) - 1; {
	case t.canary && !t.own:
		g.queue = append([]*task{t}, g.queue...)
	case !t.own && last >= 0 && g.queue[last].own:
		first := slices.IndexFunc(g.queue, func(t *task) bool { return t.own })
		g.queue = slices.Insert(g.queue, first, t)
	default:
		g.queue = append(g.queue, t)
	}
	s.list(g)
}

// list puts a group among those with something to start.
func (s *scheduler) list(g *group) {
	if !g.listed && len(g.queue) > 0 {
		g.listed = true
		s.ready.PushBack(g)
	}
}

// start starts what may start, the groups in the order in which they became
// ready. Once the run is stopped it ends them instead.
func (s *scheduler) start() {
	for e := s.ready.Front(); e != nil; {
		g := e.Value.(*group)
		if s.stopped {
			s.drop(g, runtime.Interrupted, fmt.Errorf("not started: %w", runtime.ErrInterrupted))
		} else if s.failed != nil {
			s.drop(g, runtime.Skipped, s.failed.skips("not started, because %s failed, and the plan takes back what was done", s.failed))
		}
		for len(g.queue) > 0 && s.active < s.jobs && s.mayStart(g) {
			t := g.queue[0]
			g.queue = g.queue[1:]
			s.launch(t)
		}
		next := e.Next()
		if len(g.queue) == 0 {
			g.listed = false
			s.ready.Remove(e)
		}
		if s.active >= s.jobs && !s.stopped {
			return
		}
		e = next
	}
}

// mayStart says whether the group's rules allow its next task now.
func (s *scheduler) mayStart(g *group) bool {
	if g.step == nil {
		return true
	}
	if g.failed != nil {
		s.drop(g, runtime.Skipped, g.failed.skips("not started, because %s did not succeed on %s", g.step.Name, g.failed.asFirst()))
		return false
	}
	if g.held != nil {
		s.drop(g, runtime.Held, g.held)
		return false
	}
	if g.step.Confirm != "" && g.answer != answeredYes {
		s.ask(g)
		return false
	}
	if g.step.Parallel > 0 && g.active >= g.step.Parallel {
		return false
	}
	if g.queue[0].own {
		if !s.ownMayStart(g) {
			return false
		}
	} else if g.canaries > 0 && !g.queue[0].canary {
		return false
	}
	for _, name := range g.step.Locks {
		if s.locks[name] {
			return false
		}
	}
	return true
}

// asFirst names the task's host, and says where the others waited for it.
func (t *task) asFirst() string {
	if t.canary {
		return t.host.Name + ", the canary"
	}
	return t.host.Name
}

// launch hands a task to a worker.
func (s *scheduler) launch(t *task) {
	s.active++
	t.group.active++
	if s.run.file.Preview {
		t.begin()
	}
	if t.group.step != nil {
		for _, name := range t.group.step.Locks {
			s.locks[name] = true
		}
	}
	if s.idle > 0 {
		s.idle--
		s.work <- t
		return
	}
	go s.worker(t)
}

// worker performs a task and then others. A goroutine of its own for each would
// have to grow its stack each time.
func (s *scheduler) worker(t *task) {
	defer s.run.rescue()
	for more := true; more; t, more = <-s.work {
		value, status := s.run.perform(s.ctx, t)
		s.ended <- ending{t, status, value}
	}
}

// rescue leaves a panic what it is, but lets it be told by a terminal that works.
func (r *run) rescue() {
	if r.opts.Rescue == nil {
		return
	}
	if mistake := recover(); mistake != nil {
		r.opts.Rescue()
		panic(mistake)
	}
}

func (s *scheduler) unlock(g *group) {
	if g.step == nil {
		return
	}
	for _, name := range g.step.Locks {
		delete(s.locks, name)
	}
}

// ask puts the group's question to a person, while other steps go on.
func (s *scheduler) ask(g *group) {
	if g.answer == asking {
		return
	}
	g.answer = asking
	go func() {
		yes, err := s.run.ask(s.ctx, g.step)
		s.answers <- func() {
			if yes {
				g.answer = answeredYes
				return
			}
			g.held = err
			s.drop(g, runtime.Held, err)
		}
	}()
}

// ask returns an error that wraps ErrHeld unless the answer was yes.
func (r *run) ask(ctx context.Context, step *runtime.Step) (bool, error) {
	if r.opts.Ask == nil {
		return false, fmt.Errorf("%w: %s", runtime.ErrHeld, step.Confirm)
	}
	yes, err := r.opts.Ask(ctx, step.Confirm)
	switch {
	case err != nil:
		return false, err
	case !yes:
		return false, fmt.Errorf("%w: %q was answered with no", runtime.ErrHeld, step.Confirm)
	}
	return true, nil
}

// skips is why something is not started, namely because of t, or of what kept
// t itself from being started.
func (t *task) skips(format string, args ...any) error {
	from := t.instance()
	e := &runtime.SkippedError{Why: fmt.Sprintf(format, args...), Step: from.step, Host: from.host, Ended: t.status}
	if c := t.cause; c != nil {
		e.Step, e.Host, e.Ended = c.Step, c.Host, c.Ended
		e.Why += fmt.Sprintf(", since %s ended as %s", instance{c.Step, c.Host}, c.Ended)
	}
	return e
}

// drop ends the tasks of a group that are ready and will not be started.
func (s *scheduler) drop(g *group, status runtime.Status, why error) {
	queue := g.queue
	g.queue = nil
	var skipped *runtime.SkippedError
	errors.As(why, &skipped)
	for _, t := range queue {
		t.cause = skipped
		s.end(t, status, why)
	}
}

// end ends a task that never ran, and says why.
func (s *scheduler) end(t *task, status runtime.Status, why error) {
	s.say(t, status, why)
	s.finish(t, status)
}

// say tells the readers; a journal that cannot be written stops the run.
func (s *scheduler) say(t *task, status runtime.Status, why error) {
	e := t.event(runtime.StepEnded)
	e.Status, e.Err = status, why
	if err := s.run.emit(e); err != nil {
		s.stopped = true
	}
}

// finish lets go on what waited for t, or ends it too. It works through a list
// rather than by recursion: a chain of steps may be long.
func (s *scheduler) finish(t *task, status runtime.Status) {
	type over struct {
		task   *task
		status runtime.Status
	}
	for work := []over{{t, status}}; len(work) > 0; work = work[1:] {
		t := work[0].task
		t.status = work[0].status
		s.left--
		s.note(t)
		for _, n := range t.next {
			n.waiting--
			if !t.succeeded() && n.blocked == nil {
				n.blocked = t
			}
			if n.waiting > 0 || n.status != "" {
				continue
			}
			if n.blocked == nil && !s.stopped {
				s.enqueue(n)
				continue
			}
			status, why := s.whyNot(n)
			s.say(n, status, why)
			work = append(work, over{n, status})
		}
	}
}

// whyNot says why a task that could be started now will not be.
func (s *scheduler) whyNot(t *task) (runtime.Status, error) {
	b := t.blocked
	if b == nil || b.status == runtime.Interrupted {
		return runtime.Interrupted, fmt.Errorf("not started: %w", runtime.ErrInterrupted)
	}
	why := b.skips("not started: it needs %s, which ended as %s", b, b.status)
	errors.As(why, &t.cause)
	return runtime.Skipped, why
}

// succeeded says whether what needs t goes on. A preview that stopped is no
// failure: what it would return is not known, and that is previewed further.
func (t *task) succeeded() bool {
	return t.status == runtime.OK || t.status == runtime.Stopped
}

// note keeps a group's rules up to date with how one of its tasks ended.
func (s *scheduler) note(t *task) {
	g := t.group
	good := t.succeeded()
	g.noteOther(t, good)
	if t.status == runtime.Failed && s.run.undoes(t) && s.failed == nil {
		s.failed = t
	}
	switch {
	case g.step == nil || t.host == nil:
	case good && t.canary:
		g.canaries--
	case !good && (t.canary || t.status != runtime.Skipped && g.step.OnFailure == runtime.StopOnFailure):
		if g.failed == nil {
			g.failed = t
		}
	}
}

// undoes says whether a failure of t is followed by taking back what was done.
func (r *run) undoes(t *task) bool {
	return r.plan.UndoOnFailure && t.check == nil && !r.file.Preview
}

// verdict is the status that an error gives a task.
func verdict(err error) runtime.Status {
	if err == nil {
		return runtime.OK
	}
	var unknown *runtime.NotKnownError
	switch {
	case errors.As(err, &unknown):
		return runtime.Stopped
	case isStop(err):
		return runtime.Interrupted
	case errors.Is(err, runtime.ErrHeld):
		return runtime.Held
	case errors.Is(err, runtime.ErrPassedOver):
		return runtime.Skipped
	}
	return runtime.Failed
}
