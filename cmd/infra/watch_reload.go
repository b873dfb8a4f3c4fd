package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
	saved "infra/runtime/preview"
	filewatch "infra/runtime/watch"
)

// A watchedPlan is a plan file, and what became of it so far.
type watchedPlan struct {
	path string // absolute
	file string // from the project's root, as it is shown

	running *reload // under way; nil for none
	last    *reload // that ended last
	good    *reload // the last good one; before there is one, the last that came to its end
	inputs  []filewatch.Input
	writes  []string      // paths that the plan itself alters, by the last whole preview
	edited  bool          // a file changed since --apply looked last
	asked   bool          // it was previewed since kept reads were swept
	applied *saved.Reload // what --apply did; nil before the first preview
}

// A reload is one preview of a plan. It is complete, and not written any more, once it
// was handed to the loop; only doing is read before.
type reload struct {
	plan    *watchedPlan
	changed []string  // why it was made: paths as they are shown
	why     string    // or for what else; "" for the first
	noticed time.Time // when that was
	began   time.Time
	ended   time.Time
	cancel  context.CancelFunc
	doing   atomic.Pointer[activity] // what it is at, for people; nil: it reads the files

	looking sync.Mutex       // what is looked at is told from several places
	seen    *saved.Collector // what it looked at so far

	name, title string          // of the plan, where it could be read
	err         error           // why it could not be read, or not be previewed
	doc         *saved.Document // the steps, and what they were made of; nil where it did not come to its end
	whole       bool            // it came to its end
	totals      *runtime.Totals
	events      []runtime.Event
	inputs      []filewatch.Input

	// What follows is found out when it is compared.
	since       time.Time // when the one ended that it is compared to; zero for none
	mended      bool      // that one is not the last
	differences []saved.Difference
	said        []runtime.Event // what the plan says, and did not before

	considered bool     // --apply has looked at it
	outcome    *outcome // what it made of it; nil for nothing
}

// isGood says whether what it shows is a preview that a person can go by: what is not
// known is a part of that, what failed is none.
func (re *reload) isGood() bool {
	return re.err == nil && re.whole && re.totals.Steps[runtime.Failed] == 0
}

// notRead is the status of a reload of a plan that could not be read.
const notRead runtime.Status = "refused"

// status is how it ended.
func (re *reload) status() runtime.Status {
	switch {
	case re.isGood():
		return runtime.OK
	case re.err != nil && re.name == "":
		return notRead
	}
	return runtime.Failed
}

// took is how long it took from the moment that the change was noticed.
func (re *reload) took() time.Duration { return re.ended.Sub(re.noticed) }

// preview makes the preview. Only the connections, the kept reads and the compiled files
// are shared with others.
func (re *reload) preview(ctx context.Context, r *reloader) {
	defer func() { re.ended = time.Now() }()
	e := engine.New(r.root, builtins.All(builtins.Deps{Root: r.root, Flake: r.flags.flake, SSHConfig: r.flags.sshConfig, Pool: r.pool, Turns: r.turns}))
	e.Keep(&r.files)
	print := func(text string) { re.events = append(re.events, runtime.Event{Kind: runtime.Logged, Text: text}) }
	file, sources, err := e.PreviewFrom(runtime.WithReader(runtime.WithPrint(ctx, print), re.reader(r.reads)), re.plan.path)
	defer func() { re.inputs = append(sourceInputs(r.root, re.plan.path, sources), re.lookedAt()...) }()
	if err != nil {
		re.err = err
		return
	}
	re.name, re.title = file.Plan.Name, file.Plan.Title
	if len(file.Plan.Phases) > 0 {
		re.err = madeOfOthers(file)
		return
	}
	opts := r.options()
	opts.Show = func(ev runtime.Event) { re.see(ev) }
	out, err := e.Run(ctx, file, opts)
	re.whole, re.totals, re.err = re.seen.Complete(), &out.Totals, err
	if err == nil && re.whole {
		re.doc = &saved.Document{Plan: file.Plan.Name, File: file.Path, Sources: file.Sources()}
		re.err = re.seen.Fill(re.doc)
	}
}

// options are what the engine is told. Nobody is asked anything by a preview.
func (r *reloader) options() engine.Options {
	f := r.flags
	return engine.Options{
		Offline: f.offline, Build: f.build, Steps: f.steps, Hosts: f.hosts, Jobs: f.jobs,
		Clock: r.clock, Version: version(), Reads: r.reads, Rescue: r.abandon,
	}
}

// see keeps an event to be shown. Of progress, only what is done just now counts.
func (re *reload) see(e runtime.Event) {
	re.looking.Lock()
	re.seen.Read(e)
	re.looking.Unlock()
	switch e.Kind {
	case runtime.StepStarted:
		re.doing.Store(&activity{who: instanceOf(e)})
	case runtime.OpAsked:
		re.doing.Store(&activity{instanceOf(e), e.Op.Op.Name, e.Op.Op.Show})
	case runtime.OpOutput, runtime.OpProgress:
	default:
		re.events = append(re.events, e)
	}
}

// An activity is a step, and its operation. Most are never shown, so that the text of
// one is made by who shows it.
type activity struct {
	who      instance
	op, show string
}

// activity is what it is at.
func (re *reload) activity() string {
	switch a := re.doing.Load(); {
	case a == nil:
		return "reading " + re.plan.file
	case a.op == "":
		return a.who.title()
	default:
		return joinParts([]string{a.who.title(), a.op + " " + oneLine(a.show)}, ": ")
	}
}

// compare finds out what differs from the last good preview, which may be older than
// the last one.
func (re *reload) compare(good, last *reload) {
	re.said = re.fresh(good)
	if good == nil || !re.whole || re.err != nil {
		return
	}
	re.since, re.mended = good.ended, good != last
	re.differences = saved.Diff(good.doc, re.doc)
}

// fresh are the lines that the plan printed or logged, and did not before.
func (re *reload) fresh(was *reload) (fresh []runtime.Event) {
	said := map[string]int{}
	if was != nil {
		for _, e := range was.events {
			if e.Kind == runtime.Logged {
				said[whatWasSaid(e)]++
			}
		}
	}
	for _, e := range re.events {
		if e.Kind != runtime.Logged {
			continue
		}
		if said[whatWasSaid(e)]--; said[whatWasSaid(e)] < 0 {
			fresh = append(fresh, e)
		}
	}
	return fresh
}

func whatWasSaid(e runtime.Event) string { return e.Step + "\x00" + e.Host + "\x00" + e.Text }

// failures are the steps that failed.
func (re *reload) failures() (failed []runtime.Event) {
	for _, e := range re.events {
		if e.Kind == runtime.StepEnded && e.Status == runtime.Failed {
			failed = append(failed, e)
		}
	}
	return failed
}

// place is the file and the line that a person mends, or the plan's file.
func (re *reload) place() (file string, line int) {
	var problems runtime.Problems
	var d details
	switch fails := re.failures(); {
	case errors.As(re.err, &problems):
		d.pos = problems[0].Pos
	case re.err != nil:
		d = detailsOf(re.err)
	case len(fails) > 0 && fails[0].Err != nil:
		d = detailsOf(fails[0].Err)
	}
	if !d.pos.IsValid() {
		return re.plan.file, 1
	}
	return d.pos.Filename(), int(max(d.pos.Line, 1))
}

// madeOfOthers is the error of a plan without steps of its own.
func madeOfOthers(file *interp.File) error {
	return runtime.WithHint(fmt.Errorf("%s is made of other plans, and has nothing to run of its own: %s", file.Path, strings.Join(file.Plan.Phases, ", ")),
		"infra status shows which is next")
}
