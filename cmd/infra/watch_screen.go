package main

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// A watchScreen shows the plans on a terminal, and hears what is typed there.
type watchScreen struct {
	r        *reloader
	view     watchView
	screen   screen
	keyboard *keyboard
}

// newWatchScreen takes the terminal over. It is given back by close, or by lend for a
// while.
func newWatchScreen(r *reloader) (*watchScreen, error) {
	s := &watchScreen{
		r:        r,
		view:     watchView{palette: palette(wantsColor(r.stdout, r.getenv)), plans: r.plans, full: r.flags.full},
		screen:   screen{out: r.stdout, reflows: wrapsAnew(r.getenv)},
		keyboard: &keyboard{in: r.terminal(), pressed: make(chan key)},
	}
	return s, s.keyboard.open()
}

func (s *watchScreen) shown(*reload)    { s.redraw() }
func (s *watchScreen) keys() <-chan key { return s.keyboard.pressed }

func (s *watchScreen) warned(err error) {
	s.view.note = err.Error()
	s.redraw()
}

func (s *watchScreen) redraw() {
	width, height := s.r.size()
	s.view.now = time.Now()
	s.screen.draw("", s.view.frame(width, height), width, height)
}

// close gives the terminal back. What it shows stays.
func (s *watchScreen) close() { s.keyboard.close() }

func (s *watchScreen) signal(sig os.Signal) bool {
	switch sig {
	case syscall.SIGCONT: // what stopped us, or the shell meanwhile, may have set the terminal otherwise
		s.keyboard.close()
		if s.keyboard.open() != nil {
			return false
		}
		s.screen.frame = nil
	case syscall.SIGWINCH:
	default:
		return false
	}
	s.redraw()
	return true
}

// lend gives the terminal to what do starts, without the screen.
func (s *watchScreen) lend(do func() error) error {
	width, height := s.r.size()
	s.screen.draw("", nil, width, height)
	s.keyboard.close()
	err := do()
	if again := s.keyboard.open(); again != nil {
		return again
	}
	return err
}

// suspend stops us, as Ctrl-Z does where the terminal does not leave that to us.
func (s *watchScreen) suspend() {
	width, height := s.r.size()
	s.screen.draw("", nil, width, height)
	s.keyboard.close()
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	if syscall.Kill(0, syscall.SIGTSTP) == nil {
		select {
		case <-continued: // which the loop answers to
			return
		case <-time.After(time.Second): // nobody is there who could continue us, so we were not stopped
		}
	}
	s.signal(syscall.SIGCONT)
}

// A key is what was typed: one byte.
type key byte

// The keys that terminals have names for.
const (
	ctrlC key = 3
	ctrlZ key = 26
)

// A keyboard hands on what is typed, key by key, while it is open. It takes nothing
// that is typed for others after it was closed.
type keyboard struct {
	in      *os.File
	pressed chan key

	mu     sync.Mutex  // held while it is opened or closed, and for ever once it is abandoned
	was    *term.State // how the terminal was; nil while it is closed
	wake   *os.File    // ends the reading
	closed chan struct{}
	done   chan struct{}
}

// open has the terminal hand on each key at once, and show none.
func (k *keyboard) open() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.was != nil {
		return nil
	}
	asleep, wake, err := os.Pipe()
	if err != nil {
		return err
	}
	if k.was, err = term.MakeRaw(int(k.in.Fd())); err == nil && asleep.Fd() >= unix.FD_SETSIZE {
		_ = term.Restore(int(k.in.Fd()), k.was) // it was so a moment ago
		err = errors.New("keys cannot be read: there are too many open files")
	}
	if err != nil {
		k.was = nil
		asleep.Close()
		wake.Close()
		return err
	}
	k.wake, k.closed, k.done = wake, make(chan struct{}), make(chan struct{})
	go k.read(asleep, k.closed, k.done)
	return nil
}

// close puts the terminal back as it was.
func (k *keyboard) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.was == nil {
		return
	}
	close(k.closed)
	k.wake.Close()
	<-k.done
	_ = term.Restore(int(k.in.Fd()), k.was) // it was so a moment ago
	k.was = nil
}

// abandon puts the terminal back while infra crashes. Nobody opens it any more.
func (k *keyboard) abandon() {
	k.mu.Lock()
	if k.was != nil {
		_ = term.Restore(int(k.in.Fd()), k.was) // it was so a moment ago
	}
}

// read hands on what is typed. Several bytes at once are no key that we know, but an
// arrow's, or what was pasted: nobody wants a plan to be run by that.
func (k *keyboard) read(asleep *os.File, closed, done chan struct{}) {
	defer close(done)
	defer asleep.Close()
	typed := make([]byte, 256)
	for readable(int(k.in.Fd()), int(asleep.Fd())) {
		n, err := k.in.Read(typed)
		if err != nil {
			return
		}
		if n != 1 {
			continue
		}
		select {
		case k.pressed <- key(typed[0]):
		case <-closed:
			return
		}
	}
}
