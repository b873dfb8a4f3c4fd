package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// A shown is infra watch on a terminal, by script of util-linux, which makes one and
// hands on all that is written to it.
type shown struct {
	cmd   *exec.Cmd
	typed io.WriteCloser
	drawn *bufio.Reader
}

// drawnAll is what infra writes behind all that it draws at once.
const drawnAll = "\x1b[?2026l"

// onTerminal measures the same as saves, on a terminal: from the close of a save to the
// last byte of the screen that shows it.
func (w *watching) onTerminal(ctx context.Context, n int, dir string, env []string, infra string, args ...string) (took []time.Duration, err error) {
	s := &shown{cmd: exec.CommandContext(ctx, "script", "-qefc", "set -f; IFS=$BETWEEN; exec $WORDS", "/dev/null")}
	s.cmd.Dir, s.cmd.Env = dir, append(slices.Clone(env), "TERM=xterm", "NO_COLOR=1", "BETWEEN=\n", "WORDS="+strings.Join(append([]string{infra, "watch"}, args...), "\n"))
	if s.typed, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.drawn = bufio.NewReader(stdout)
	defer func() { err = errors.Join(err, s.end()) }()
	if _, err := s.shows("previewed ("); err != nil {
		return nil, err
	}
	for range n {
		w.saved++
		if err := os.WriteFile(w.path, []byte(w.text(w.saved)), 0o644); err != nil {
			return nil, err
		}
		closed := time.Now()
		at, err := s.shows(fmt.Sprintf("save %d", w.saved))
		if err != nil {
			return nil, err
		}
		took = append(took, at.Sub(closed))
	}
	slices.Sort(took)
	return took, nil
}

// shows waits until a text was drawn, and all that is drawn with it.
func (s *shown) shows(text string) (at time.Time, err error) {
	var all strings.Builder
	for {
		part, err := s.drawn.ReadString(drawnAll[len(drawnAll)-1])
		all.WriteString(part)
		if err != nil {
			return at, fmt.Errorf("infra watch ended before it showed %q: %w\n%s", text, err, all.String())
		}
		if !strings.HasSuffix(part, drawnAll) {
			continue
		}
		if strings.Contains(all.String(), text) {
			return time.Now(), nil
		}
		all.Reset()
	}
}

// end types what a person does to end it.
func (s *shown) end() error {
	if _, err := s.typed.Write([]byte("q")); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, s.drawn)
	return s.cmd.Wait()
}
