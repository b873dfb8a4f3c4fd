package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"infra/builtins/nix"
	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
	saved "infra/runtime/preview"
	"infra/runtime/remote"
	filewatch "infra/runtime/watch"
)

// A reloader previews plans again and again. All that it has belongs to the goroutine
// of stay; a reload is its own goroutine's until it comes out of ended.
type reloader struct {
	*app
	root    string
	flags   watchFlags
	plans   []*watchedPlan
	pool    *remote.Pool // lives as long as infra does: connections are kept
	turns   *nix.Turns   // of the evaluations of all previews
	reads   *engine.Reads
	files   interp.Programs // as they were compiled
	watcher *filewatch.Watcher

	show     watchShow
	screen   *watchScreen // is show, on a terminal; else nil
	ended    chan *reload
	all      sync.WaitGroup
	signals  chan os.Signal
	warnings chan error // of the watcher
}

// A watchShow is who sees what the reloader does.
type watchShow interface {
	// shown is called when a reload has ended, and was compared.
	shown(re *reload)
	// applied is called when --apply has carried a preview out, or has not.
	applied(re *reload)
	// warned is called with what keeps infra from watching as it should.
	warned(err error)
	// keys are what a person types; nil where nobody does.
	keys() <-chan key
	// redraw is called when time has passed.
	redraw()
	// signal says whether infra goes on after a signal.
	signal(os.Signal) bool
	close()
}

func (a *app) newReloader(root string, plans []*watchedPlan, f watchFlags) (*reloader, error) {
	r := &reloader{app: a, root: root, flags: f, plans: plans, ended: make(chan *reload), warnings: make(chan error, 1)}
	warn := func(err error) {
		select {
		case r.warnings <- err:
		default: // one is enough
		}
	}
	collectBy(gcPercent)
	debug.SetMemoryLimit(memoryBound)
	var err error
	if r.watcher, err = filewatch.New(filewatch.Options{Warn: warn}); err != nil {
		return nil, err
	}
	r.pool = remote.NewPool(remote.Config{SSHConfig: f.sshConfig, Contacts: filepath.Join(root, ".infra", "known_hosts"), LookOn: true})
	r.turns = nix.NewTurns(f.budgets.EvalWorkers, nil) // a preview that is stopped ends by its context
	if f.reads > 0 {
		r.reads = engine.NewReads(f.reads)
	}
	switch {
	case f.json:
		r.show = &watchJSON{app: a, full: f.full}
	case canRedraw(a.stdout, a.getenv) && a.terminal() != nil:
		if r.screen, err = newWatchScreen(r); err == nil {
			r.show = r.screen
		}
	default:
		r.show = newWatchLines(r)
	}
	if err != nil {
		r.pool.Close()
		return nil, errors.Join(err, r.watcher.Close())
	}
	return r, nil
}

// A preview leaves nearly all of its memory behind at once, and a person waits for it: it
// is collected less often than usual meanwhile, within a bound, and given back when
// infra is idle.
const (
	gcPercent   = 400
	memoryBound = 1 << 30
)

// close ends what is under way, which is only reads, and puts the terminal back.
func (r *reloader) close() {
	r.show.close()
	for _, p := range r.plans {
		p.stop()
	}
	r.all.Wait()
	_ = r.watcher.Close() // nothing is lost
	r.pool.Close()
}

// slow is after how long a preview is said to be under way, and how often from then on.
const slow = time.Second

// stay previews until a person has enough, and returns the exit code.
func (r *reloader) stay(ctx context.Context) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.signals = notified()
	defer signal.Stop(r.signals)
	for _, p := range r.plans {
		p.inputs = []filewatch.Input{{Path: p.path}} // until more is known
	}
	r.watch()
	r.beginAll(ctx, "")
	r.show.redraw()
	under := time.NewTimer(slow)
	defer under.Stop()
	for {
		select {
		case re := <-r.ended:
			if r.take(re); !r.busy() && r.applyAll(ctx) {
				return exitInterrupted
			}
			under.Reset(slow)
		case paths := <-r.watcher.Changes():
			r.changed(ctx, paths)
			under.Reset(slow)
		case <-under.C:
			if !r.busy() {
				goruntime.GC()       // what is kept for use again goes when it was not used between two
				debug.FreeOSMemory() // who waits for a person takes no more than that
				continue
			}
			r.watchMore()
			r.show.redraw()
			under.Reset(slow)
		case err := <-r.warnings:
			r.show.warned(err)
		case s := <-r.signals:
			if !r.show.signal(s) {
				return exitInterrupted
			}
		case k := <-r.show.keys():
			if code, end := r.press(ctx, k); end {
				return code
			}
			under.Reset(slow)
		}
	}
}

// beginAll previews all plans, though nothing changed.
func (r *reloader) beginAll(ctx context.Context, why string) {
	for _, p := range r.plans {
		r.begin(ctx, p, &reload{why: why, noticed: time.Now()})
	}
}

// begin previews a plan anew. One that is under way is stopped: it is only reads.
func (r *reloader) begin(ctx context.Context, p *watchedPlan, re *reload) {
	if p.running != nil {
		re.changed = append(re.changed, p.running.changed...)
		re.why = cmp.Or(re.why, p.running.why)
	}
	p.stop()
	slices.Sort(re.changed)
	re.changed = slices.Compact(re.changed)
	ctx, re.cancel = context.WithCancel(ctx)
	re.plan, re.seen, re.began = p, saved.NewWatching(r.root), time.Now()
	p.running = re
	if p.last != nil {
		re.events = make([]runtime.Event, 0, len(p.last.events)+1) // most likely it has as many
	}
	r.all.Go(func() {
		defer r.rescue()
		re.preview(ctx, r)
		select {
		case r.ended <- re:
		case <-ctx.Done(): // nobody wants it any more
		}
	})
}

// rescue gives the terminal back where a mistake of infra's ends it.
func (r *reloader) rescue() {
	if mistake := recover(); mistake != nil {
		r.abandon()
		panic(mistake)
	}
}

// abandon gives the terminal back for good, whoever calls it.
func (r *reloader) abandon() {
	if r.screen != nil {
		r.screen.keyboard.abandon()
	}
}

// stop ends the preview that is under way.
func (p *watchedPlan) stop() {
	if p.running != nil {
		p.running.cancel()
		p.running = nil
	}
}

// take shows a reload that has ended. Only then is looked at what it looked at: what
// changed in between is told by its digest.
func (r *reloader) take(re *reload) {
	p := re.plan
	if re != p.running {
		return
	}
	p.stop()
	re.compare(p.good, p.last)
	if p.last = re; re.isGood() || re.whole && re.err == nil && (p.good == nil || !p.good.isGood()) {
		p.good = re
	}
	r.show.shown(re)
	p.inputs = re.watched(p.inputs)
	if re.whole {
		p.writes = re.seen.Writes()
	}
	p.asked = p.asked || re.whole
	if !r.busy() {
		r.watch()
		r.sweep()
	}
}

// sweep forgets the reads that no plan asks for any more, once each that could be
// previewed has been since the last time.
func (r *reloader) sweep() {
	waits := func(p *watchedPlan) bool { return !p.asked && p.last.whole }
	if slices.ContainsFunc(r.plans, waits) {
		return
	}
	for _, p := range r.plans {
		p.asked = false
	}
	r.reads.Sweep()
}

// busy says whether a preview is under way.
func (r *reloader) busy() bool {
	return slices.ContainsFunc(r.plans, func(p *watchedPlan) bool { return p.running != nil })
}

// notified are the signals that the loop answers to.
func notified() chan os.Signal {
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM, syscall.SIGWINCH, syscall.SIGCONT)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(ch, syscall.SIGHUP)
	}
	return ch
}
