package remote

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestShare: a real ssh runs its commands over the connection of the pool. The name that
// it is given leads nowhere else.
func TestShare(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := s.pool(t)
	options, done := p.Share(inTime(t), target, NewRate(16<<20))
	ended := false
	end := func() {
		if !ended {
			ended = true
			done()
		}
	}
	defer end()
	ssh := func(args ...string) *exec.Cmd {
		argv := []string{"-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=1"}
		for _, o := range options {
			argv = append(argv, "-o", o.Name+"="+o.Value)
		}
		return exec.CommandContext(inTime(t), "ssh", append(argv, args...)...)
	}
	long := make([]byte, 20<<20)
	random := rand.NewChaCha8([32]byte{7})
	_, _ = random.Read(long)
	for name, tt := range map[string]struct {
		argv        []string
		in          []byte
		out, errs   string
		code        int
		errContains string
	}{
		"status":     {argv: []string{"nowhere.invalid", "exit 7"}, code: 7},
		"outputs":    {argv: []string{"nowhere.invalid", "cat; echo err >&2"}, in: []byte("in"), out: "in", errs: "err\n"},
		"much":       {argv: []string{"nowhere.invalid", "sha256sum"}, in: long, out: fmt.Sprintf("%x  -\n", sha256.Sum256(long))},
		"much back":  {argv: []string{"nowhere.invalid", "head -c 20000000 /dev/zero | tr '\\0' x"}, out: strings.Repeat("x", 20_000_000)},
		"a signal":   {argv: []string{"nowhere.invalid", "kill -TERM $$"}, code: 255, errContains: ""},
		"a check":    {argv: []string{"-O", "check", "nowhere.invalid"}, errContains: "Master running"},
		"a terminal": {argv: []string{"-tt", "nowhere.invalid", "true"}, code: 255, errContains: "without a terminal"},
		"a forward":  {argv: []string{"-O", "forward", "-L", "1:x:1", "nowhere.invalid"}, code: 255, errContains: "only commands"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := ssh(tt.argv...)
			var out, errs bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(tt.in), &out, &errs
			began := time.Now()
			_ = cmd.Run()
			if took, least := time.Since(began), time.Duration(len(tt.in))*time.Second>>24-rateBurst; took < least {
				t.Errorf("it took %s to send %d bytes, and at least %s by its rate", took, len(tt.in), least)
			}
			if cmd.ProcessState.ExitCode() != tt.code || out.String() != tt.out || tt.errs != "" && errs.String() != tt.errs || !strings.Contains(errs.String(), tt.errContains) {
				t.Errorf("%v, %d bytes %.80q, %q", cmd.ProcessState, out.Len(), &out, &errs)
			}
		})
	}
	t.Run("killed", func(t *testing.T) {
		word := marker()
		cmd := ssh("nowhere.invalid", "cat; : "+word)
		in, err := cmd.StdinPipe()
		must(t, err)
		defer in.Close()
		must(t, cmd.Start())
		eventually(t, "ssh and the command run", func() bool { return len(processes(word)) > 1 })
		must(t, cmd.Process.Signal(syscall.SIGKILL))
		_ = cmd.Wait()
		eventually(t, "the command ends", func() bool { return len(processes(word)) == 0 })
		_, err = p.Output(inTime(t), target, "true") // the connection lives
		must(t, err)
	})
	log, err := os.ReadFile(s.log)
	must(t, err)
	if n := strings.Count(string(log), "Accepted publickey"); n != 1 {
		t.Errorf("%d connections were made", n)
	}
	folder := filepath.Dir(options[1].Value)
	end()
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", folder, err)
	}
}

// TestShareWithout: where the pool does not reach the host, ssh is told why.
func TestShareWithout(t *testing.T) {
	t.Parallel()
	s := prepareServer(t)
	options, done := s.pool(t).Share(inTime(t), target, NewRate(1<<30))
	defer done()
	cmd := exec.CommandContext(inTime(t), "ssh", "-F", "none", "-o", "ControlPath="+options[1].Value, "nowhere.invalid", "true")
	said, _ := cmd.CombinedOutput()
	if !strings.Contains(string(said), "connection refused") || !strings.Contains(string(said), "nowhere.invalid") {
		t.Errorf("%s", said)
	}
}

// FuzzShared: whatever comes over the socket, it is answered or left.
func FuzzShared(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x04"))
	f.Add([]byte("\x00\x00\x00\x08\x10\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x09\x10\x00\x00\x02\x00\x00\x00\x01x"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, said []byte) {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		must(t, err)
		ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
		defer theirs.Close()
		conn, err := net.FileConn(ours)
		must(t, err)
		must(t, ours.Close())
		go func() {
			_, _ = theirs.Write(said)
			_ = syscall.Shutdown(pair[1], syscall.SHUT_WR)
		}()
		go func() { _, _ = theirs.Read(make([]byte, 1<<20)) }()
		must(t, conn.SetDeadline(time.Now().Add(hang)))
		s := &sharing{ctx: t.Context()}
		if err := s.serve(muxed{conn.(*net.UnixConn)}); err == nil {
			t.Error("it was left without a reason")
		}
	})
}
