package remote

import (
	"net"
	"sync/atomic"
	"syscall"
)

// A stream is the bytes of a connection, which knows whether they get on.
type stream struct {
	net.Conn
	heard   atomic.Pointer[func()] // is called when something comes; nil: nobody
	read    atomic.Int64
	written atomic.Int64
	acked   atomic.Int64    // of written, when it was last asked for and some were not
	socket  syscall.RawConn // nil where the stream is no socket of ours
	ahead   []byte          // what came with a byte that was asked for alone
}

// greetingRead is more than a server's greeting, which the ssh package asks for byte by
// byte: a system call for each would be most of those of a connection.
const greetingRead = 256

// watch counts what goes over a connection.
func watch(c net.Conn, heard func()) *stream {
	s := &stream{Conn: c}
	s.heard.Store(&heard)
	if sock, ok := c.(syscall.Conn); ok {
		s.socket, _ = sock.SyscallConn() // without it, sending shows nothing
	}
	return s
}

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	if len(s.ahead) > 0 {
		n := copy(p, s.ahead)
		s.ahead = s.ahead[n:]
		return n, nil
	}
	if len(p) == 1 {
		more := make([]byte, greetingRead)
		n, err := s.receive(more)
		n, s.ahead = copy(p, more[:n]), more[min(1, n):n]
		return n, err
	}
	return s.receive(p)
}

func (s *stream) receive(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.read.Add(int64(n))
		if heard := s.heard.Load(); heard != nil {
			(*heard)()
		}
	}
	return n, err
}

// Write implements net.Conn.
func (s *stream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	s.written.Add(int64(n))
	return n, err
}

// progress is a number that grows with every byte that came. While some of ours
// are on their way, it also grows with what the other machine says it has: that
// one lives then, however slow the way there is. A machine that takes
// everything at once and never answers does not.
func (s *stream) progress() int64 {
	queued, err := 0, error(nil)
	if s.socket != nil && s.socket.Control(func(fd uintptr) { queued, err = unacknowledged(int(fd)) }) == nil && err == nil && queued > 0 {
		s.acked.Store(s.written.Load() - int64(queued))
	}
	return s.read.Load() + s.acked.Load()
}
