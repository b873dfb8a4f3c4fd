package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"infra/runtime"
)

// A policy is a wrapper of the door: something that holds for every operation.
type policy struct {
	name string
	wrap func(r *run, next runtime.Do) runtime.Do
}

// policies are stacked in this order, the first outermost. Order is meaning:
//
//   - ahead first: nothing of an operation is looked at while another one is to be waited
//     for;
//   - scoped next: what a plan may not ask for is refused before it becomes a
//     record of something that was tried;
//   - reviewed after scoped, which knows the plainer reason, and before all that
//     leaves a trace: what nobody reviewed is not even begun. Outside replayed,
//     so that it counts what an earlier attempt or process did, too;
//   - replayed before all that leaves a trace: what was done before is not done
//     again, nor recorded again;
//   - stoppable before announced: an operation that will not start must not be
//     journaled as begun;
//   - confirmed before announced for the same reason, and before locked: no host is
//     locked while a person thinks;
//   - kept after confirmed too: it waits for other steps;
//   - locked before announced too, and after stoppable: a run that
//     ends does not ask a host for its lock any more. Inside replayed, since
//     what was done before needs none;
//   - announced round all that can fail: the journal has every operation
//     before it starts, and how it ended where that is known, whatever happens
//     further in;
//   - located and scrubbed inside announced: the journal gets the error as
//     people will see it, and no secret in it.
var policies = []policy{
	{"ahead", ahead},
	{"scoped", scoped},
	{"reviewed", reviewed},
	{"replayed", replayed},
	{"stoppable", stoppable},
	{"confirmed", confirmed},
	{"kept", kept},
	{"locked", locked},
	{"announced", announced},
	{"scrubbing", scrubbing},
	{"located", located},
}

// chain puts every policy round act, which is what the door leads to.
func (r *run) chain(act runtime.Do) runtime.Do {
	do := act
	for i := len(policies) - 1; i >= 0; i-- {
		do = policies[i].wrap(r, do)
	}
	return do
}

// ahead lets the plan's code go on while an operation goes on whose answer nobody uses. What
// was carried out before, or may have to be carried out again, is gone through one by one.
func ahead(r *run, next runtime.Do) runtime.Do {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		t := taskOf(ctx)
		if op.Statement != nil && (r.file.Preview || t.check != nil || t.replay != nil && !t.replay.live || t.retries() > 0 && !op.Repeatable) {
			op.Statement = nil
		}
		return runtime.AheadOf(ctx).Do(ctx, op, next)
	}
}

// scoped refuses what the code that asks may not do: a check only reads, and
// a plan changes only the hosts that it lists and that were chosen.
func scoped(r *run, next runtime.Do) runtime.Do {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		if op.Effect != runtime.Read {
			if who := runtime.ReadsOnly(ctx); who != "" {
				return runtime.Result{}, runtime.WithHint(fmt.Errorf("%s is a %s, and %s only reads", op.Name, op.Effect, who),
					"move it into a step; a command that only looks says reads = True")
			}
			if err := r.refuse(op); err != nil {
				return runtime.Result{}, err
			}
		}
		return next(ctx, op)
	}
}

func (r *run) refuse(op runtime.Op) error {
	switch {
	case op.Host == "":
		return nil
	case r.host(op.Host) == nil:
		return runtime.WithHint(fmt.Errorf("%s would change %s, which the plan does not list", op.Name, op.Host),
			"add it to the plan's hosts = [...]")
	case r.hosts != nil && !r.hosts[op.Host]:
		return runtime.WithHint(fmt.Errorf("%s would change %s, which was not chosen", op.Name, op.Host), "run it with --host %s", op.Host)
	}
	return nil
}

// stoppable starts nothing once the run is asked to stop.
func stoppable(r *run, next runtime.Do) runtime.Do {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		for _, c := range []context.Context{ctx, r.stop} {
			if c.Err() != nil {
				return runtime.Result{}, fmt.Errorf("%s was not started: %w", op.Name, context.Cause(c))
			}
		}
		return next(ctx, op)
	}
}

// announced tells the readers before and after. When they cannot be told
// before, the operation is not carried out.
func announced(r *run, next runtime.Do) runtime.Do {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		t, started := taskOf(ctx), time.Now()
		out, err := r.begin(ctx, t, op)
		if err != nil {
			return runtime.Result{}, err
		}
		res, err := next(runtime.WithProgress(withOutput(runtime.WithOpID(ctx, r.opID(out.op)), out), out.part), op)
		ended := t.event(runtime.OpEnded)
		ended.Op, ended.Pos, ended.Took = out.end(res), op.Pos, time.Since(started)
		ended.Status, ended.Err, ended.Text = verdict(err), err, out.note
		switch {
		case errors.Is(err, errNothingTells):
			return res, err // who looked for it says how it ends
		case inFlight(op, err):
			r.tell(ended) // it has no end that could be kept
			return res, err
		}
		if lost := r.emit(ended); lost != nil && err == nil {
			return runtime.Result{}, lost
		}
		if op.Forget != nil && !r.file.Preview {
			r.forget(ctx, op.Forget, out.op)
		}
		return res, err
	}
}

// begin tells the readers that an operation begins, or that one which an
// earlier process began goes on.
func (r *run) begin(ctx context.Context, t *task, op runtime.Op) (*output, error) {
	out := &output{run: r, task: t, op: &runtime.OpEvent{Op: op}}
	asked := t.event(runtime.OpAsked)
	asked.Op, asked.Pos = out.op, op.Pos
	if cut := cutOf(ctx); cut != nil {
		asked.Kind, out.op.ID, out.resumed = runtime.OpResumed, cut.ID, true
		r.tell(asked)
		return out, nil
	}
	out.op.ID = int(r.ops.Add(1))
	return out, r.emit(asked)
}

// inFlight says whether op may go on, or may have come about, although it ended
// with err here. The journal then has no end of it, and what resumes the run
// looks for it.
func inFlight(op runtime.Op, err error) bool {
	if op.Effect < runtime.Change {
		return false
	}
	return errors.Is(err, runtime.ErrUntold) || op.Settle != nil && isStop(err)
}

// opID is the name of an operation among those of all runs.
func (r *run) opID(op *runtime.OpEvent) string { return r.id + "-" + strconv.Itoa(op.ID) }

// forgetting bounds how long taking away what only a resumed run would need may take.
const forgetting = 10 * time.Second

// forget lets an operation that the journal has take away its traces, while the
// step goes on. What stays is of no harm.
func (r *run) forget(ctx context.Context, forget func(context.Context), e *runtime.OpEvent) {
	r.forgets.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(runtime.WithOpID(ctx, r.opID(e))), forgetting)
		defer cancel()
		forget(ctx)
	})
}

// scrubbing takes the secrets out of errors.
func scrubbing(_ *run, next runtime.Do) runtime.Do {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		res, err := next(ctx, op)
		return res, scrubbed(err)
	}
}

// located adds to an error what was tried, and where.
func located(_ *run, next runtime.Do) runtime.Do {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		res, err := next(ctx, op)
		switch {
		case err == nil:
		case op.Host != "":
			err = fmt.Errorf("%s on %s: %w", op.Name, op.Host, err)
		default:
			err = fmt.Errorf("%s: %w", op.Name, err)
		}
		return res, err
	}
}

// carryOut is what the door leads to in a run.
func carryOut(ctx context.Context, op runtime.Op) (runtime.Result, error) {
	if op.Needs != nil {
		return runtime.Result{}, runtime.WithHint(fmt.Errorf("%w: it needs what was answered before the run was resumed, %s, and that is lost", runtime.ErrHeld, op.Needs),
			"a run from the start asks for it again: infra run")
	}
	if op.Human {
		return taskOf(ctx).run.human(ctx, op)
	}
	res, err := op.Run(ctx, outputOf(ctx))
	before := runtime.EarlyOf(ctx).EndBefore() // the journal gets their ends in order
	if err != nil && before != nil && !(inFlight(op, before) && inFlight(op, err)) {
		return runtime.Result{}, runtime.ErrPassedOver // whatever else is said of it
	}
	return res, err
}
