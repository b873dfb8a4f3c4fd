// Package watch tells when the content of files becomes another one. It knows
// files and folders, and nothing of plans.
//
// Folders are watched and never files, since an editor may put another file in a
// file's place. What happens there says only where to look; whether anything
// changed is decided by a hash of the content, when it has been quiet for a while.
// One goroutine (loop.go) owns all state.
package watch

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Absent is the Digest of an Input that was looked for and was not there.
const Absent = "absent"

// ErrClosed is the error of a Set after Close.
var ErrClosed = errors.New("the watcher is closed")

// An Input is a file, or a folder with all below it, whose content counts. Links
// are followed, but for those below a Tree: there, a link's content is where it
// leads. Of a folder that is no Tree only counts that it is there. Of a Tree
// nothing counts that editors leave behind, nor .git, .infra, links named result,
// and the permissions of files. What git ignores counts as everything else does.
type Input struct {
	Path   string // absolute; need not exist
	Tree   bool   // a folder with all below it
	Digest string // SHA-256 in hex of the content that was read, or Absent; "" where that is not known. A Tree has none
}

// Options of a Watcher; the zero value is good.
type Options struct {
	Quiet  time.Duration // a change is told when nothing more has happened for so long; 0 is 50 ms
	AtMost time.Duration // and at the latest so long after it began; 0 is 500 ms
	Poll   time.Duration // how often what cannot be watched is looked at; 0 is 1 s

	// Warn is told what the Watcher cannot do as it should, say that it polls now,
	// and why. It is called on a goroutine of its own.
	Warn func(error)
}

// A Watcher tells which of the Inputs changed. Its methods may be called from
// several goroutines.
type Watcher struct {
	opts     Options
	fs       *fsnotify.Watcher // nil: everything is polled
	changes  chan []string
	requests chan func()   // carried out by the loop
	lost     chan struct{} // of capacity 1: events were lost
	quit     chan struct{}
	ended    chan struct{}
	once     sync.Once
	err      error // of the end

	state
}

// New makes a Watcher of nothing. It has to be closed.
func New(opts Options) (*Watcher, error) {
	fs, err := fsnotify.NewWatcher()
	w := start(opts, fs)
	if err != nil {
		w.warn(instanceError(err, w.opts.Poll))
	}
	return w, nil
}

// start makes a Watcher that polls everything where fs is nil.
func start(opts Options, fs *fsnotify.Watcher) *Watcher {
	opts.Quiet = cmp.Or(opts.Quiet, 50*time.Millisecond)
	opts.AtMost = cmp.Or(opts.AtMost, 500*time.Millisecond)
	opts.Poll = cmp.Or(opts.Poll, time.Second)
	w := &Watcher{
		opts:     opts,
		fs:       fs,
		changes:  make(chan []string),
		requests: make(chan func()),
		lost:     make(chan struct{}, 1),
		quit:     make(chan struct{}),
		ended:    make(chan struct{}),
		state:    newState(),
	}
	go w.run()
	return w
}

// Set says what counts from now on; nothing else does. A file whose content is not
// what Input.Digest says is told as changed. Without a Digest, what counts as the
// content before is what was there when the input was set first, or told last.
// Inputs that were set before cost next to nothing.
func (w *Watcher) Set(inputs []Input) error {
	wanted := make(map[name]string, len(inputs))
	for _, in := range inputs {
		if !filepath.IsAbs(in.Path) {
			return fmt.Errorf("watch %q: the path is not absolute", in.Path)
		}
		n := name{filepath.Clean(in.Path), in.Tree}
		wanted[n] = cmp.Or(in.Digest, wanted[n])
	}
	return w.do(func() { w.set(wanted) })
}

// Changes has one value a change: the paths, sorted, of the Inputs, and of the
// files below Trees, whose content is not what it was when it was told last. What
// nobody has received yet becomes one with what follows, and is taken back where
// the content is as it was again. It is closed by Close.
func (w *Watcher) Changes() <-chan []string { return w.changes }

// Close ends the watching. It may be called more than once.
func (w *Watcher) Close() error {
	w.once.Do(func() { close(w.quit) })
	<-w.ended
	return w.err
}

// do has the loop carry out f, and waits for that.
func (w *Watcher) do(f func()) error {
	done := make(chan struct{})
	select {
	case w.requests <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-w.ended:
		return ErrClosed
	}
}

// warn does not wait: who is warned may be about to call a method of the Watcher.
func (w *Watcher) warn(err error) {
	if w.opts.Warn != nil {
		go w.opts.Warn(err)
	}
}
