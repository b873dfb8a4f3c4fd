package clan

import (
	"cmp"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"time"

	"infra/builtins/internal/command"
	"infra/runtime/remote"
)

const (
	looking  = 20 * time.Millisecond // between two looks at the terminal's mode
	lastWord = 2 * time.Second       // for output that is under way when clan has ended
	tailKept = 64 << 10              // of the output, for errors
)

// converse runs clan on a terminal of its own, passes on what it prints, and
// answers it. When ctx ends, or clan asks what it has no answer to, clan's
// process group gets TERM, and KILL after the grace. Nothing waits for ever: a
// question without an answer is an error.
func (d driver) converse(ctx context.Context, argv []string, dl *dialog) (command.Output, error) {
	if ctx.Err() != nil {
		return command.Output{}, context.Cause(ctx)
	}
	tty, err := newPTY()
	if err != nil {
		return command.Output{}, err
	}
	child, err := remote.Spawn(remote.Command{Argv: argv, Env: environment(), Dir: d.dir, Terminal: tty.slave})
	if err != nil {
		tty.close()
		return command.Output{}, err
	}
	talk := &talk{dialog: dl, tty: tty, said: make(chan string, 64), typed: make(chan string, 1), tail: lastLines{limit: tailKept}}
	go talk.listen()
	go talk.typist()
	err = talk.until(ctx, child)
	exit, failed := child.Wait()
	close(talk.typed)
	tty.close()
	for range talk.said { // until the listener has ended
	}
	dl.pass(len(dl.line))
	return command.Output{Stdout: talk.tail.String(), Exit: exit}, cmp.Or(err, failed)
}

// A talk is a dialog with a process.
type talk struct {
	*dialog
	tty   *pty
	said  chan string // closed when the terminal is hung up
	typed chan string
	tail  lastLines
}

// listen reads what the process prints.
func (t *talk) listen() {
	defer close(t.said)
	buf := make([]byte, 16<<10)
	for {
		n, err := t.tty.master.Read(buf)
		if n > 0 {
			t.said <- string(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// typist types: a process that does not read must not stop us from listening.
func (t *talk) typist() {
	for text := range t.typed {
		if _, err := io.WriteString(t.tty.master, text); err != nil {
			return // it has ended, or was ended
		}
	}
}

// until goes on until the process has ended, be it by us.
func (t *talk) until(ctx context.Context, child *remote.Child) error {
	look := time.NewTicker(looking)
	defer look.Stop()
	heard := time.Now()
	said := t.said
	for {
		select {
		case out, ok := <-said:
			if !ok {
				said = nil
				continue
			}
			t.hear(out)
			heard = time.Now()
		case <-look.C:
			typed, err := t.turn(t.tty.mode(), time.Since(heard))
			if err == nil && typed != "" {
				select {
				case t.typed <- typed:
				default:
					err = errors.New("clan asks on, and does not read what it is answered")
				}
				heard = time.Now()
			}
			if err != nil {
				t.end(child)
				return err
			}
		case <-child.Ended():
			child.Signal(syscall.SIGKILL)
			t.drain(said)
			return nil
		case <-ctx.Done():
			t.end(child)
			return context.Cause(ctx)
		}
	}
}

func (t *talk) hear(out string) {
	t.heard(out)
	_, _ = io.WriteString(&t.tail, strings.ReplaceAll(out, "\r", "")) // it never fails
}

// end ends the process, which has TERM and then the usual grace.
func (t *talk) end(child *remote.Child) {
	child.Signal(syscall.SIGTERM)
	late := time.NewTimer(remote.DefaultGrace)
	defer late.Stop()
	for said := t.said; ; {
		select {
		case <-child.Ended():
			return
		case out, ok := <-said:
			if !ok {
				said = nil
			}
			t.hear(out)
		case <-late.C:
			child.Signal(syscall.SIGKILL)
		}
	}
}

// drain hears the rest of what was printed.
func (t *talk) drain(said <-chan string) {
	late := time.NewTimer(lastWord)
	defer late.Stop()
	for said != nil {
		quiet := time.NewTimer(looking)
		select {
		case out, ok := <-said:
			quiet.Stop()
			if !ok {
				return
			}
			t.hear(out)
		case <-quiet.C:
			return
		case <-late.C:
			return
		}
	}
}
