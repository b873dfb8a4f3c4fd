package sops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestKeyCommand(t *testing.T) {
	lonely(t)
	var log bytes.Buffer
	for _, c := range []struct{ line, out, err string }{
		{line: `printf '%s' "a b"`, out: "a b"},
		{line: `sh -c 'echo key; echo touch it >&2'`, out: "key\n"},
		{line: " ", err: "not a command"},
		{line: "'open", err: "not a command"},
		{line: "infratest-absent", err: "not found"},
		{line: "sh -c 'exit 3'", err: "exit status 3"},
		{line: "head -c 2000000 /dev/zero", err: "it prints more than a key"},
	} {
		t.Run(c.line, func(t *testing.T) {
			out, err := keyCommand(t.Context(), c.line, "age1x", &log)
			if c.err != "" {
				checkError(t, err, c.err, "")
				return
			}
			must(t, err)
			if string(out) != c.out {
				t.Errorf("printed %q", out)
			}
		})
	}
	if log.String() != "touch it\n" {
		t.Errorf("log %q", log.String())
	}
}

// A key command ends with the run, and its children with it.
func TestKeyCommandEnds(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "alive")
	must(t, syscall.Mkfifo(fifo, 0o600))
	r, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	must(t, err)
	defer r.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped by the test")
	log := writerFunc(func(p []byte) (int, error) { cancel(stopped); return len(p), nil })
	_, err = keyCommand(ctx, fmt.Sprintf("sh -c 'exec 3>%s; sleep 20 & echo started >&2; wait'", fifo), "age1x", log)
	if !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
	must(t, r.SetReadDeadline(time.Now().Add(time.Minute)))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a child still holds the pipe: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
