package sops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	sopsage "github.com/getsops/sops/v3/age"
	"github.com/google/shlex"

	"infra/runtime"
	"infra/runtime/remote"
)

const (
	keyCommandTimeout = 2 * time.Minute // it may wait for a person to touch something
	keyCommandOutput  = 1 << 20
)

// keyCommand runs a command that prints a private key, and returns what it
// printed. sops tells it by SOPS_AGE_RECIPIENT which key is wanted. It runs in
// a process group of its own, so it cannot ask on the terminal.
func keyCommand(ctx context.Context, line, recipient string, log io.Writer) ([]byte, error) {
	words, err := shlex.Split(line)
	if err != nil || len(words) == 0 {
		return nil, errors.New("not a command")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, keyCommandTimeout, fmt.Errorf("it did not end within %s", keyCommandTimeout))
	defer cancel()
	out := &bounded{left: keyCommandOutput}
	exit, err := remote.Run(ctx, remote.Command{
		Argv: words, Env: map[string]runtime.Text{sopsage.SopsAgeRecipientEnv: runtime.PlainText(recipient)},
		Stdout: out, Stderr: log,
	})
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case out.left < 0:
		return nil, errTooMuch
	case err != nil:
		return nil, err
	case exit.Code != 0:
		return nil, fmt.Errorf("%s: exit status %d", words[0], exit.Code)
	}
	return out.buf.Bytes(), nil
}

var errTooMuch = errors.New("it prints more than a key")

// bounded keeps so much of what is written to it, and fails after that.
type bounded struct {
	buf  bytes.Buffer // not embedded: its ReadFrom would go round the bound
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errTooMuch
	}
	return b.buf.Write(p)
}
