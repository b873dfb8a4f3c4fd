package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"infra/runtime"
	saved "infra/runtime/preview"
)

// applyAll carries out what differs in the previews that ended, once none is under way.
// Whatever changes meanwhile waits: nothing but a person interrupts an operation. ended
// says that infra was told to end.
func (r *reloader) applyAll(ctx context.Context) (ended bool) {
	for _, p := range r.plans {
		re := p.last
		if !r.flags.apply || re.doc == nil || re.err != nil || re.considered {
			continue
		}
		re.considered = true
		if p.applied == nil {
			p.applied = saved.NewReload(re.doc)
		}
		if !p.edited {
			p.applied.Settle(re.doc)
			continue
		}
		p.edited = false
		steps, again := p.applied.Next(re.doc)
		if len(steps) == 0 {
			continue
		}
		if again {
			r.holds(re, steps, "the same did not end well before, and is not tried again as it is")
			continue
		}
		ran, ended := r.applies(ctx, re, steps)
		if ended {
			return true
		}
		if ran {
			r.beginAll(ctx, "after the run")
			return false
		}
	}
	return false
}

// holds says why the steps that differ in a preview are not carried out.
func (r *reloader) holds(re *reload, steps []string, why string) {
	re.outcome = &outcome{at: time.Now(), steps: steps, status: runtime.Held, why: []string{why}}
	r.show.applied(re)
}

// applies carries out the steps that differ in one preview, or says why it does not. It
// is a run like any other, with connections and locks of its own.
func (r *reloader) applies(ctx context.Context, re *reload, steps []string) (ran, ended bool) {
	f := r.flags.runFlags
	f.dryRun, f.offline, f.build, f.json = false, false, false, false
	var done applied
	carryOut := func() (err error) {
		to := &outputs{app: r.app, flags: f, root: r.root, show: r.runReader()}
		s := r.newSession(ctx, r.root, f, to)
		defer s.close()
		done, err = s.apply(re.plan, re.doc, steps, to.show.Read)
		to.show.Close()
		return err
	}
	var err error
	if r.screen == nil {
		err = carryOut()
	} else {
		err = r.screen.lend(carryOut)
	}
	if ran = done.out.Run != ""; ran {
		r.reads.Forget()
	}
	if !done.stale {
		re.outcome = outcomeAfter(steps, done, err)
		r.show.applied(re)
	}
	return ran, r.told()
}

// runReader shows a run that infra watch begins.
func (r *reloader) runReader() reader {
	if r.flags.json {
		return silent{}
	}
	return r.reader(runFlags{})
}

// told says whether a signal came that infra ends at. What is typed to interrupt a run
// that was shown on the screen has stopped that, and is none.
func (r *reloader) told() bool {
	for {
		select {
		case s := <-r.signals:
			if ends(s) && (s != os.Interrupt || r.screen == nil) {
				return true
			}
		default:
			return false
		}
	}
}

// An outcome is what --apply made of a preview.
type outcome struct {
	at     time.Time
	steps  []string
	run    string // its id; "" where none was begun
	status runtime.Status
	took   time.Duration
	why    []string // why none was, or it could not go on
}

func outcomeAfter(steps []string, done applied, err error) *outcome {
	o := &outcome{at: time.Now(), steps: steps, run: done.out.Run, status: done.out.Status, took: done.out.Took, why: done.why}
	var problems runtime.Problems
	switch {
	case errors.As(err, &problems):
		o.why = append(o.why, firstProblem(err))
	case err != nil:
		o.why = append(o.why, printable(joinParts([]string{err.Error(), runtime.HintOf(err)}, ": ")))
	}
	if o.run == "" {
		o.status = runtime.Held
	}
	return o
}

// text tells of it in a few lines; nothing where nothing was to be done.
func (o *outcome) text(p palette) string {
	if o == nil {
		return ""
	}
	line := p.change("not carried out: ") + strings.Join(o.steps, ", ")
	if o.run != "" {
		line = fmt.Sprintf("carried out %s: %s in %s (infra log %s)", strings.Join(o.steps, ", "), p.status(o.status, string(o.status)), elapsed(o.took), o.run)
	}
	if len(o.why) > 0 {
		line += printable(bullets(o.why))
	}
	return line + "\n"
}

// A jsonApplied is what --apply made of a preview, in one line of infra watch --json.
type jsonApplied struct {
	Schema int               `json:"schema"`
	Time   string            `json:"time"`
	Event  runtime.EventKind `json:"event"`
	File   string            `json:"file"`
	Steps  []string          `json:"steps"`
	Status runtime.Status    `json:"status"`
	Run    string            `json:"run,omitempty"`
	TookMS float64           `json:"took_ms"`
	Why    []string          `json:"why,omitempty"`
}

func (j *watchJSON) applied(re *reload) {
	o := re.outcome
	j.print(jsonApplied{watchSchema, o.at.UTC().Format(time.RFC3339Nano), "applied", re.plan.file, o.steps, o.status, o.run, float64(o.took.Microseconds()) / 1000, o.why})
}

func (l *watchLines) applied(re *reload) {
	var b bytes.Buffer
	p := palette(wantsColor(l.app.stdout, l.app.getenv))
	b.WriteString(p.bold(re.plan.file) + "  " + p.dim(re.outcome.at.Local().Format(time.TimeOnly)) + "  " + re.outcome.text(p) + "\n")
	l.print(b.String())
}

func (s *watchScreen) applied(*reload) { s.redraw() }
