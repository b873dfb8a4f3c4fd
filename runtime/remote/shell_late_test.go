package remote

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"infra/runtime"
)

// TestShellAnswersFirst: what the host has said of a command, and who ended it, count for more
// than that its shell is gone by now.
func TestShellAnswersFirst(t *testing.T) {
	t.Parallel()
	gone, told := make(chan struct{}), make(chan struct{})
	close(gone)
	close(told)
	why := errors.New("enough")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for range 100 {
		s := &shell{gone: gone}
		s.session.conn = &conn{pool: &Pool{}, endpoint: &Endpoint{}}
		s.session.input.closed = true
		s.session.input.ch = &channel{Channel: closable{}}
		if err := (&shellCommand{shell: s, told: told}).await(t.Context(), nil); err != nil {
			t.Fatalf("told, and the shell gone: %v", err)
		}
		if err := (&shellCommand{shell: s, told: make(chan struct{}), begun: true}).await(ended, nil); !errors.Is(err, why) || errors.Is(err, runtime.ErrUntold) {
			t.Fatalf("ended by us, and the shell gone: %v", err)
		}
	}
}

type closable struct{ ssh.Channel }

func (closable) CloseWrite() error { return nil }

// TestAheadOfSpoilt: after a command that has made the output of its shell one that does
// not wait, the next one has another shell, and all of its own output.
func TestAheadOfSpoilt(t *testing.T) {
	for _, stream := range []string{"STDOUT", "STDERR"} {
		inEachSession(t, func(t *testing.T, _ *server, p *Pool) { aheadOfSpoilt(t, p, stream) })
	}
}

func aheadOfSpoilt(t *testing.T, p *Pool, stream string) {
	g := goAhead(t, p, inTime(t), t.Context())
	spoil := "perl -MFcntl -e 'fcntl(" + stream + ", F_SETFL, O_WRONLY | O_NONBLOCK) or die'; "
	const much = "head -c 4000000 /dev/zero | tr '\\0' x; head -c 4000000 /dev/zero | tr '\\0' x >&2; "
	for _, script := range []string{notes + waits + spoil, notes + much, notes + "echo $PPID", spoil, notes + much} {
		must(t, g.ask(shellOf(script)))
		g.letGo()
	}
	must(t, g.wait())
	g.checkAll("1 2 3 5", nil)
	for _, n := range []int{1, 4} {
		if x := g.asks[n]; x.out.Len() != 4000000 || x.diag.Len() != 4000000 {
			t.Errorf("%s: %d and %d bytes of %d", stream, x.out.Len(), x.diag.Len(), 4000000)
		}
	}
	var out strings.Builder
	_, err := g.p.Run(g.ctx, target, Command{Argv: []string{"sh", "-c", "echo $PPID"}, Stdout: &out})
	must(t, err)
	if first := g.asks[2].out.String(); out.String() == first {
		t.Errorf("%s: the spoilt shell is used again", stream)
	}
}
