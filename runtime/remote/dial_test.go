package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"infra/runtime"
)

// silent accepts connections and says nothing.
func silent(t *testing.T) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func TestConnectTimeout(t *testing.T) {
	s := prepareServer(t)
	s.port = silent(t)
	s.config = []string{
		"Host patient\n ConnectTimeout 7\n HostName 127.0.0.1\n Port " + fmt.Sprint(s.port),
		"Host hole\n HostName 192.0.2.1", // a network that is for documentation: packets are dropped or refused
	}
	p := NewPool(Config{SSHConfig: s.sshConfig(t), ConnectTimeout: 300 * time.Millisecond})
	defer p.Close()
	began := time.Now()
	err := p.Reach(inTime(t), target)
	complains(t, err, "target (|"+s.address()+"|no ssh server greets within 300ms", "hangs or is overloaded")
	if took := time.Since(began); took < 300*time.Millisecond || took > hang {
		t.Errorf("took %s", took)
	}
	err = p.Reach(inTime(t), &runtime.Host{Name: "hole"})
	complains(t, err, "cannot reach hole (|@192.0.2.1:22", "")

	e, err := p.Endpoint(t.Context(), &runtime.Host{Name: "patient"})
	if err != nil || e.ConnectTimeout != 7*time.Second {
		t.Errorf("got %v, %v", e, err)
	}
}

func TestNothingListens(t *testing.T) {
	s := prepareServer(t)
	complains(t, s.pool(t).Reach(inTime(t), target), "cannot reach target (|"+s.address()+"|refused", "is sshd running")
}

// A cancelled caller does not wait for the dial, nor does it spoil the dial of
// another.
func TestCancelledDial(t *testing.T) {
	s := prepareServer(t)
	s.port = silent(t)
	p := s.pool(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no patience")
	time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
	began := time.Now()
	if err := p.Reach(ctx, target); !errors.Is(err, why) || time.Since(began) > hang {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// A relay drops the first connections without a word, as sshd does when too
// many come at once.
func relay(t *testing.T, to string, drop int32) (port int, count *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	count = &atomic.Int32{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if count.Add(1) <= drop {
				_ = c.(*net.TCPConn).SetLinger(0) // a reset
				c.Close()
				continue
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				return
			}
			go func() { io.Copy(up, c); up.Close() }()
			go func() { io.Copy(c, up); c.Close() }()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, count
}

func TestDroppedDialIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, c := range []struct {
		drop, dials int32
		words       string
	}{{0, 1, ""}, {3, 4, ""}, {4, 4, "hung up before it greeted"}} {
		real := s.address()
		port, count := relay(t, real, c.drop)
		config := s.sshConfig(t)
		text, err := os.ReadFile(config)
		must(t, err)
		must(t, os.WriteFile(config, []byte(strings.Replace(string(text), fmt.Sprintf("Port %d", s.port), fmt.Sprintf("Port %d", port), 1)), 0o600))
		p := NewPool(Config{SSHConfig: config})
		err = p.Reach(inTime(t), target)
		if c.words != "" {
			complains(t, err, c.words, "")
		} else if err != nil {
			t.Error(err)
		}
		if n := count.Load(); n != c.dials {
			t.Errorf("%d dials with %d drops, want %d", n, c.drop, c.dials)
		}
		must(t, p.Close())
	}
}

// Hosts that share an address, as behind a jump host, do not overrun it.
func TestMaxStartups(t *testing.T) {
	t.Parallel()
	s := newServer(t, "MaxStartups 10:100:10")
	var hosts []*runtime.Host
	for i := range 30 {
		name := fmt.Sprintf("alias%d", i)
		s.config = append(s.config, s.stanza(name)+" HostKeyAlias "+name)
		hosts = append(hosts, &runtime.Host{Name: name})
	}
	s.replaceKnownHosts(t, "* "+authorizedKey(s.host.signer.PublicKey()))
	p := s.pool(t)
	errs := make(chan error, len(hosts))
	for _, h := range hosts {
		go func() { errs <- p.Reach(inTime(t), h) }()
	}
	for range hosts {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// No server gets more handshakes at once than it should.
func TestHandshakesAtOnce(t *testing.T) {
	t.Parallel()
	s := prepareServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	accepted := make(chan time.Time, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- time.Now()
			defer c.Close()
		}
	}()
	s.port = l.Addr().(*net.TCPAddr).Port
	for i := range 20 {
		s.config = append(s.config, s.stanza(fmt.Sprintf("alias%d", i))+fmt.Sprintf(" HostKeyAlias %d", i))
	}
	p := NewPool(Config{SSHConfig: s.sshConfig(t), ConnectTimeout: 2 * time.Second})
	defer p.Close()
	errs := make(chan error, 20)
	for i := range 20 {
		go func() { errs <- p.Reach(inTime(t), &runtime.Host{Name: fmt.Sprintf("alias%d", i)}) }()
	}
	for range 20 {
		complains(t, <-errs, "no ssh server greets", "")
	}
	if len(accepted) < 20 {
		t.Fatalf("%d connections", len(accepted))
	}
	first := <-accepted
	for range handshakesAtOnce - 1 {
		<-accepted
	}
	if next := (<-accepted).Sub(first); next < time.Second {
		t.Errorf("connection %d came after %s, before another could have ended", handshakesAtOnce+1, next)
	}
}
