package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"infra/runtime"
)

// Share returns the options by which an ssh that a tool starts runs its command over
// the pool's own connection to h: no further handshake, and no second login. It does so
// as OpenSSH's own master processes do (PROTOCOL.mux, version 4), and where it does not
// come to that, ssh connects by itself, so nothing depends on it. What it sends, and no
// other command of the connection, is held to rate. Done ends it.
func (p *Pool) Share(ctx context.Context, h *runtime.Host, rate *Rate) (options []Option, done func()) {
	dir, err := os.MkdirTemp("", "infra-ssh-")
	if err != nil {
		return nil, func() {}
	}
	path := filepath.Join(dir, "socket")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil { // the path is longer than one of a socket can be
		_ = os.RemoveAll(dir)
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &sharing{pool: p, host: h, rate: rate, ctx: ctx}
	s.clients.Go(func() { s.accept(listener) })
	done = func() {
		cancel()
		_ = listener.Close()
		s.clients.Wait()
		_ = os.RemoveAll(dir) // in the folder for what may be lost
	}
	return []Option{{"ControlMaster", "no"}, {"ControlPath", strings.ReplaceAll(path, "%", "%%")}}, done
}

// A sharing is a connection that others run commands over.
type sharing struct {
	pool    *Pool
	host    *runtime.Host
	rate    *Rate
	ctx     context.Context
	clients sync.WaitGroup
}

func (s *sharing) accept(listener *net.UnixListener) {
	for {
		socket, err := listener.AcceptUnix()
		if err != nil {
			return
		}
		s.clients.Go(func() {
			defer socket.Close()
			defer context.AfterFunc(s.ctx, func() { _ = socket.Close() })()
			_ = s.serve(muxed{socket}) // ssh says what it lacks
		})
	}
}

// The messages of the protocol that a command needs; all others are refused.
const (
	muxHello      = 0x00000001
	muxNewSession = 0x10000002
	muxAliveCheck = 0x10000004

	muxFailure = 0x80000003
	muxExited  = 0x80000004
	muxAlive   = 0x80000005
	muxOpened  = 0x80000006

	muxVersion = 4
	muxLongest = 256 << 10 // as OpenSSH has it
)

// serve answers one ssh until it has run its command.
func (s *sharing) serve(m muxed) error {
	if err := m.send(muxHello, muxVersion); err != nil {
		return err
	}
	for {
		kind, body, err := m.receive()
		if err != nil {
			return err
		}
		var asked struct {
			ID   uint32
			Rest []byte `ssh:"rest"`
		}
		if err := ssh.Unmarshal(body, &asked); err != nil {
			return err
		}
		switch kind {
		case muxHello: // of version asked.ID, which every ssh since 2010 has
		case muxAliveCheck:
			err = m.send(muxAlive, asked.ID, uint32(os.Getpid()))
		case muxNewSession:
			return s.session(m, asked.ID, asked.Rest)
		default:
			err = m.fail(asked.ID, errors.New("only commands are run over a shared connection"))
		}
		if err != nil {
			return err
		}
	}
}

// session runs the command that an ssh asks for, with the three files that it hands over.
func (s *sharing) session(m muxed, id uint32, body []byte) error {
	var asked struct {
		Reserved                   string
		TTY, X11, Agent, Subsystem uint32
		Escape                     uint32
		Term, Command              string
		Env                        []byte `ssh:"rest"` // what the host's login would take of it anyway is not passed on
	}
	if err := ssh.Unmarshal(body, &asked); err != nil {
		return err
	}
	files, err := m.files(3)
	defer closeAll(files)
	if err != nil {
		return err
	}
	if asked.TTY+asked.Subsystem != 0 {
		return m.fail(id, errors.New("only commands without a terminal are run over a shared connection"))
	}
	c, err := s.pool.to(s.ctx, s.host)
	if err != nil {
		return m.fail(id, err)
	}
	ch, err := c.begin(s.ctx, asked.Command)
	if err != nil {
		return m.fail(id, err)
	}
	defer c.end(ch)
	if err := m.send(muxOpened, id, 1); err != nil {
		return err
	}
	go func() { // it says nothing more, but may be killed
		_, _, _ = m.receive()
		_ = ch.Close()
	}()
	return m.send(muxExited, 1, carry(ch, s.rate.bound(s.ctx, files[0]), files[1], files[2]))
}

// carry copies what a command reads and prints, and returns its exit status.
func carry(ch *channel, stdin io.Reader, stdout, stderr io.Writer) uint32 {
	go func() {
		_, _ = io.Copy(ch, stdin)
		_ = ch.CloseWrite()
	}()
	var printed sync.WaitGroup
	printed.Go(func() { _, _ = io.Copy(stdout, ch) })
	printed.Go(func() { _, _ = io.Copy(stderr, ch.Stderr()) })
	status := uint32(255) // as ssh has it where there is none
	for r := range ch.requests {
		var exit struct{ Status uint32 }
		if r.Type == "exit-status" && ssh.Unmarshal(r.Payload, &exit) == nil {
			status = exit.Status
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
	printed.Wait()
	return status
}

// muxed is a socket on which packets go, each after its length.
type muxed struct{ *net.UnixConn }

func (m muxed) send(kind uint32, words ...uint32) error {
	body := binary.BigEndian.AppendUint32(nil, kind)
	for _, w := range words {
		body = binary.BigEndian.AppendUint32(body, w)
	}
	return m.write(body)
}

func (m muxed) fail(id uint32, why error) error {
	return m.write(ssh.Marshal(struct {
		Kind, ID uint32
		Why      string
	}{muxFailure, id, why.Error()}))
}

func (m muxed) write(body []byte) error {
	_, err := m.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

// receive reads just one packet: files may come right behind it.
func (m muxed) receive() (kind uint32, body []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(m, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length < 4 || length > muxLongest {
		return 0, nil, fmt.Errorf("a packet of %d bytes", length)
	}
	body = make([]byte, length)
	if _, err := io.ReadFull(m, body); err != nil {
		return 0, nil, err
	}
	return binary.BigEndian.Uint32(body), body[4:], nil
}

// files takes files that are handed over, each with a byte.
func (m muxed) files(n int) ([]*os.File, error) {
	var files []*os.File
	for range n {
		var one [1]byte
		handed := make([]byte, unix.CmsgSpace(4))
		_, held, _, _, err := m.ReadMsgUnix(one[:], handed)
		if err != nil {
			return files, err
		}
		messages, err := unix.ParseSocketControlMessage(handed[:held])
		if err != nil || len(messages) != 1 {
			return files, fmt.Errorf("no file was handed over: %w", err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			return files, fmt.Errorf("no file was handed over: %w", err)
		}
		files = append(files, os.NewFile(uintptr(fds[0]), "shared"))
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
