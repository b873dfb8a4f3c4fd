package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// pollInstead has an input looked at now and then from here on, since it cannot
// be watched.
func (w *Watcher) pollInstead(in *input, err error) {
	w.leave(in)
	in.polled, in.stale = true, false
	in.way = findWay(in.path)
	w.touch(in, "")
	w.startPolling()

	var cause syscall.Errno
	errors.As(err, &cause)
	if w.warned[cause] {
		return
	}
	w.warned[cause] = true
	w.warn(fmt.Errorf("%w; infra looks at it every %s instead", watchError(err), w.opts.Poll))
}

// watchError says of the error of a watch which limit it is about.
func watchError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return limitError(err, watchLimit)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return limitError(err, fileLimit)
	}
	return err
}

// instanceError says why nothing can be watched at all.
func instanceError(err error, poll time.Duration) error {
	err = fmt.Errorf("watch files: %w", err)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		err = limitError(err, instanceLimit)
	}
	return fmt.Errorf("%w; infra looks at them every %s instead", err, poll)
}

func (w *Watcher) startPolling() {
	if !w.polling {
		w.polling = true
		w.poller.Reset(w.opts.Poll)
	}
}

// poll looks at the stamps of all that cannot be watched. It takes a hundredth of
// the time at most, however much there is to look at.
func (w *Watcher) poll() {
	start := time.Now()
	w.polling = false
	if w.lookAtPolled() {
		w.stir()
	}
	if w.polling {
		w.poller.Reset(max(w.opts.Poll, 100*time.Since(start)))
	}
}

// lookAtPolled touches what has another stamp, and says whether there is any that
// was not touched before.
func (w *Watcher) lookAtPolled() bool {
	touches := w.touches
	for _, in := range w.inputs {
		if !in.polled {
			continue
		}
		w.polling = true
		in.way = findWay(in.path)
		var info fs.FileInfo
		if i, err := os.Stat(in.path); err == nil {
			info = i
		}
		if !in.files[""].isStill(info) {
			w.touch(in, "")
		}
		w.scan(in, "")
	}
	return w.touches > touches
}
