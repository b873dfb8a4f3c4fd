package watch

import (
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// state is what the loop knows, and nothing else touches.
type state struct {
	inputs  map[name]*input
	folders map[string]*folder         // what is watched, by real path
	watched map[identity]string        // which folders the kernel watches for us, and what they were called
	points  map[string]map[*input]bool // whose way a real path is on
	trees   map[string]map[*input]bool // to which Trees a folder belongs, by real path
	stirred map[*input]bool            // those where something is to be looked at
	touches int                        // how much was touched ever
	changed map[*record]bool           // those whose content is not what was told
	offer   offer
	window
	timer, poller *time.Timer
	polling       bool // the poller is set
	warned        map[error]bool
	locks         []string // of git, see locked
	locksKnown    bool
	buffer        []byte
}

// A window is the time from the first sign of a change until it is told.
type window struct {
	first, last time.Time // signs; no window is open where first is zero
	until       time.Time // and it stays open at least until then
	held        time.Time // since when git holds it open
	called      bool      // for events that are late, and none came since
	again       bool      // what is gone was looked at a second time
	rescan      bool      // events were lost
}

// An offer is a change that nobody has received yet.
type offer struct {
	paths   []string
	digests map[*record]string
}

func newState() state {
	s := state{
		inputs:  map[name]*input{},
		folders: map[string]*folder{},
		watched: map[identity]string{},
		points:  map[string]map[*input]bool{},
		trees:   map[string]map[*input]bool{},
		stirred: map[*input]bool{},
		changed: map[*record]bool{},
		warned:  map[error]bool{},
		timer:   time.NewTimer(time.Hour),
		poller:  time.NewTimer(time.Hour),
		buffer:  make([]byte, 64<<10),
	}
	s.timer.Stop()
	s.poller.Stop()
	return s
}

func (w *Watcher) run() {
	defer close(w.ended)
	defer close(w.changes)
	var events <-chan fsnotify.Event
	forwarded := make(chan struct{})
	if w.fs == nil {
		close(forwarded)
	} else {
		events = w.fs.Events
		// fsnotify may hold its lock while it sends an error, and we might be
		// waiting for that lock.
		go func() {
			defer close(forwarded)
			w.forward(w.fs.Errors)
		}()
	}
	w.serve(events)
	w.timer.Stop()
	w.poller.Stop()
	if w.fs != nil {
		w.err = w.fs.Close()
	}
	<-forwarded
}

// forward makes one sign of any number of errors: after each of them, what is
// known of the folders may be wrong.
func (w *Watcher) forward(errs <-chan error) {
	for range errs {
		select {
		case w.lost <- struct{}{}:
		default:
		}
	}
}

func (w *Watcher) serve(events <-chan fsnotify.Event) {
	for {
		var out chan<- []string
		if len(w.offer.paths) > 0 {
			out = w.changes
		}
		select {
		case <-w.quit:
			return
		case event, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			w.event(event)
		case <-w.lost:
			w.rescan = true
			w.stir()
		case request := <-w.requests:
			request()
		case <-w.timer.C:
			w.catchUp(events)
			w.settle(time.Now())
		case <-w.poller.C:
			w.poll()
		case out <- w.offer.paths:
			w.received()
		}
	}
}

// catchUp takes the events that wait already: it has been quiet only if there are
// none.
func (w *Watcher) catchUp(events <-chan fsnotify.Event) {
	for range 1000 {
		select {
		case event, ok := <-events:
			if !ok {
				return
			}
			w.event(event)
		default:
			return
		}
	}
}

// stir opens the window, or keeps it open.
func (w *Watcher) stir() {
	now := time.Now()
	w.last, w.called = now, false
	if w.first.IsZero() {
		w.first = now
		w.timer.Reset(w.opts.Quiet - lastCall)
	}
}

// lastCall is how long we wait at the end of the quiet time for events that nobody
// has fetched from the kernel yet, since the machine is busy.
const lastCall = time.Millisecond

// due is when the window may be closed.
func (w *Watcher) due() time.Time {
	due := w.last.Add(w.opts.Quiet)
	if latest := w.first.Add(w.opts.AtMost); latest.Before(due) {
		due = latest
	}
	if due.Before(w.until) {
		due = w.until
	}
	return due
}

// settle closes the window if it is time to: it looks at what was stirred, and
// offers what changed.
func (w *Watcher) settle(now time.Time) {
	if w.first.IsZero() {
		return
	}
	if wait := w.due().Sub(now) - lastCall; wait > 0 {
		w.timer.Reset(wait)
		return
	}
	if !w.called {
		w.called = true
		w.timer.Reset(lastCall)
		return
	}
	if w.locked(now) {
		w.holdBack(now)
		return
	}
	if w.rescan {
		w.rescan = false
		w.lookEverywhere()
	}
	patient := now.Sub(w.first) < w.opts.AtMost
	if patient && w.polling && w.lookAtPolled() {
		w.stir() // no event has told us
		w.timer.Reset(w.opts.Quiet)
		return
	}
	unsteady, missing := w.lookAtStirred(patient, !w.again)
	if unsteady || missing {
		w.again = w.again || missing
		w.until, w.called = now.Add(2*w.opts.Quiet), false
		w.timer.Reset(2 * w.opts.Quiet)
		return
	}
	w.window = window{}
	w.publish()
}

// holdBack keeps the window open for git. What git does is one change, its end
// included.
func (w *Watcher) holdBack(now time.Time) {
	if w.held.IsZero() {
		w.held = now
	}
	w.first, w.last, w.called = now, now, false
	w.timer.Reset(w.opts.Quiet)
}

// publish offers all that changed.
func (w *Watcher) publish() {
	digests := make(map[*record]string, len(w.changed))
	for r := range w.changed {
		digests[r] = r.digest
	}
	w.offer = newOffer(digests)
}

func newOffer(digests map[*record]string) offer {
	o := offer{digests: digests}
	for r := range digests {
		o.paths = append(o.paths, r.path)
	}
	slices.Sort(o.paths)
	o.paths = slices.Compact(o.paths) // a file may be an Input, and below a Tree
	return o
}

// received makes what was offered the content that is compared with.
func (w *Watcher) received() {
	for r, digest := range w.offer.digests {
		r.told = digest
		w.compare(r)
	}
	w.offer = offer{}
}

// withdraw takes back what need not be told any more.
func (w *Watcher) withdraw() {
	left := map[*record]string{}
	for r, digest := range w.offer.digests {
		if w.changed[r] {
			left[r] = digest
		}
	}
	w.offer = newOffer(left)
}
