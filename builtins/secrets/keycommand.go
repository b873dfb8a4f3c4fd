package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	sopsage "github.com/getsops/sops/v3/age"
	"github.com/google/shlex"
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
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = append(os.Environ(), sopsage.SopsAgeRecipientEnv+"="+recipient)
	cmd.Stdout, cmd.Stderr = out, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // for children that hold the output
	err = cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its children end with it
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case out.left < 0:
		return nil, errTooMuch
	case err != nil:
		return nil, fmt.Errorf("%s: %w", words[0], err)
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
