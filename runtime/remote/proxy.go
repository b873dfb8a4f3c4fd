package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// transport opens the byte stream on which ssh to the endpoint is spoken.
func transport(ctx context.Context, e *Endpoint, jump *conn) (net.Conn, error) {
	switch {
	case jump != nil:
		stream, err := jump.client.DialContext(ctx, "tcp", e.Address())
		if err != nil {
			return nil, jumpError(jump, e, err)
		}
		return stream, nil
	case e.ProxyCommand != "":
		return startProxy(e.ProxyCommand)
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", e.Address())
}

func jumpError(jump *conn, e *Endpoint, err error) error {
	if refused(err) {
		why := err.(*ssh.OpenChannelError)
		return fmt.Errorf("the jump host %s does not reach %s: %s (%s)", jump.endpoint, e.Address(), why.Message, why.Reason)
	}
	return fmt.Errorf("through the jump host %s: %w", jump.endpoint, err)
}

// A proxy is a ProxyCommand whose input and output are the connection.
type proxy struct {
	io.Reader
	io.WriteCloser
	command string
	child   *exec.Cmd
	close   sync.Once
}

// startProxy runs the command as ssh does: by the user's shell.
func startProxy(command string) (net.Conn, error) {
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	child := exec.Command(shell, "-c", "exec "+command)
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := child.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("ProxyCommand %q: %w", command, err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("ProxyCommand %q: %w", command, err)
	}
	complaints, err := child.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("ProxyCommand %q: %w", command, err)
	}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("starting the ProxyCommand %q: %w", command, err)
	}
	x := &explained{r: out, command: command, said: &tail{limit: 1 << 10}, all: make(chan struct{})}
	go func() {
		defer close(x.all)
		_, _ = io.Copy(x.said, complaints)
	}()
	return &proxy{Reader: x, WriteCloser: in, command: command, child: child}, nil
}

// Write passes p on. What the command does not take any more is dropped: it is the
// end of its output that tells, with the command's own words, why there is no
// connection.
func (p *proxy) Write(b []byte) (int, error) {
	n, err := p.WriteCloser.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		return len(b), nil
	}
	return n, err
}

// explained adds to the end of a proxy's output what it said on standard
// error.
type explained struct {
	r       io.Reader
	command string
	said    *tail
	all     chan struct{} // closed when it has said all
}

func (x *explained) Read(p []byte) (int, error) {
	n, err := x.r.Read(p)
	if err != nil && n == 0 {
		select {
		case <-x.all:
		case <-time.After(outputDelay): // what it left behind may hold its standard error open
		}
		if said := strings.TrimSpace(x.said.String()); said != "" {
			return 0, fmt.Errorf("the ProxyCommand %q ended and said %q: %w", x.command, said, err)
		}
		return 0, fmt.Errorf("the ProxyCommand %q ended: %w", x.command, err)
	}
	return n, err
}

// Close ends the command and what it started.
func (p *proxy) Close() error {
	p.close.Do(func() {
		p.WriteCloser.Close()
		signalGroup(p.child.Process.Pid, syscall.SIGTERM)
		go func() {
			kill := time.AfterFunc(outputDelay, func() { signalGroup(p.child.Process.Pid, syscall.SIGKILL) })
			defer kill.Stop()
			_ = p.child.Wait() // how a proxy ends tells nothing
		}()
	})
	return nil
}

// proxyAddr stands for both ends of a proxy.
type proxyAddr string

func (a proxyAddr) Network() string { return "proxy" }
func (a proxyAddr) String() string  { return string(a) }

// LocalAddr implements net.Conn.
func (p *proxy) LocalAddr() net.Addr { return proxyAddr(p.command) }

// RemoteAddr implements net.Conn.
func (p *proxy) RemoteAddr() net.Addr { return proxyAddr(p.command) }

// SetDeadline implements net.Conn. Nothing asks for deadlines: connections are
// closed instead.
func (p *proxy) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn.
func (p *proxy) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn.
func (p *proxy) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
