package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"infra/runtime"
)

// ownPatience bounds how long a run's start waits for hosts that may be the own
// machine. They are at addresses of ours, so a healthy one answers at once.
const ownPatience = 3 * time.Second

// ownHosts asks which of the hosts that the run may change are the machine that we
// run on, by Options.Here.
func (r *run) ownHosts(ctx context.Context) map[string]bool {
	own := map[string]bool{}
	if r.opts.Here == nil || r.opts.Offline {
		return own
	}
	ctx, done := endingWith(ctx, r.opts.Stop)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, ownPatience)
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, locksAtOnce)
	for _, h := range r.touched() {
		if h.Place != nil {
			continue // it is only found out where that is
		}
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if r.opts.Here(ctx, h) {
				mu.Lock()
				defer mu.Unlock()
				own[h.Name] = true
			}
		})
	}
	all.Wait()
	return own
}

// ownLast puts the own machine behind all other hosts of each step: what ends us
// there leaves nothing half done elsewhere. So it is no canary either, as long as
// there are others.
func ownLast(groups []*group, own map[string]bool) {
	for _, g := range groups {
		if len(own) == 0 || !g.step.FansOut() || len(g.tasks) < 2 {
			continue
		}
		var others, ours []*task // not in place: others hold the tasks in the plan's order
		for _, t := range g.tasks {
			if t.own = own[t.host.Name]; t.own {
				ours = append(ours, t)
			} else {
				others = append(others, t)
			}
		}
		g.tasks, g.others = slices.Concat(others, ours), len(others)
		for i, t := range g.tasks {
			t.canary = i < g.step.Canary
		}
	}
}

// ownMayStart says whether the own machine's turn has come: the others have ended,
// and ended well.
func (s *scheduler) ownMayStart(g *group) bool {
	if g.others > 0 || g.active > 0 {
		return false
	}
	if g.unwell != nil {
		s.drop(g, runtime.Skipped, g.unwell.skips("not started, because %s did not succeed on %s, and the machine that infra runs on goes last",
			g.step.Name, g.unwell.host.Name))
		return false
	}
	return true
}

// noteOther keeps what ownMayStart asks up to date.
func (g *group) noteOther(t *task, good bool) {
	if g.step == nil || t.host == nil || t.own {
		return
	}
	g.others--
	if !good && g.unwell == nil {
		g.unwell = t
	}
}
