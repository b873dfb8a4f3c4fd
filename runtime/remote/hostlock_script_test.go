package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"infra/runtime"
)

// A lockChild is a script about the lock as a host runs it, with another shell
// in place of /bin/sh.
type lockChild struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	held  chan struct{}
	ended chan struct{}
	said  *lockReport

	refused chan struct{} // closed when it has said that another has the lock, or why nobody can
}

// lockScripted starts a script; as is the account, 0 for ours.
func lockScripted(t *testing.T, shell []string, text, folder string, h Holder, l lease, as uint32) *lockChild {
	t.Helper()
	c := &lockChild{held: make(chan struct{}), ended: make(chan struct{})}
	c.said = &lockReport{held: func() { close(c.held) }}
	line, err := h.words()
	must(t, err)
	args := append([]string{"-c", joined(text), "sh"}, lockArgs(h, line, l.length, 100*time.Millisecond, "MARK")...)
	c.cmd = exec.Command(shell[0], append(shell[1:len(shell):len(shell)], args...)...)
	c.cmd.Env = append(os.Environ(), "INFRA_LOCK_DIR="+folder, "SSH_CONNECTION="+folder) // commands of no other test are its connection's
	c.cmd.Stderr = &announced{next: c.said, answer: func() {}}
	if text == lockScript {
		c.cmd.Stderr = c.marked()
	}
	if as != 0 {
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: as, Gid: as}}
	}
	c.cmd.WaitDelay = hang
	c.stdin, err = c.cmd.StdinPipe()
	must(t, err)
	must(t, c.cmd.Start())
	go func() { _ = c.cmd.Wait(); close(c.ended) }()
	t.Cleanup(func() { c.stdin.Close(); <-c.ended })
	return c
}

// marked hears the holder behind the mark of its shell.
func (c *lockChild) marked() io.Writer {
	c.refused = make(chan struct{})
	c.said.refused = sync.OnceFunc(func() { close(c.refused) })
	return &marked{mark: []byte("\x1eMARK"), text: func([]byte) {}, says: func(word, rest string) {
		if word == "lock" {
			c.said.says(rest)
		}
	}}
}

// holds waits until the script has the lock, or has been refused it.
func (c *lockChild) holds() bool {
	select {
	case <-c.held:
		return true
	case <-c.refused:
	case <-c.ended:
	}
	return false
}

func tokenOf(n int) Holder {
	h := crs
	h.Token = "T" + strings.Repeat("A", n)
	return h
}

// lockShells are those that may be a host's /bin/sh.
func lockShells(t *testing.T) map[string][]string {
	all := shells(t)
	path, err := exec.LookPath("mksh")
	must(t, err)
	all["mksh"] = []string{path}
	delete(all, "sh") // it is one of them
	return all
}

func TestLockUnderEachShell(t *testing.T) {
	t.Parallel()
	for name, shell := range lockShells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join(t.TempDir(), "lock")
			t.Run("one of 100", func(t *testing.T) { lockOneOfHundred(t, shell, folder) })
			t.Run("lease", func(t *testing.T) { lockLeaseEnds(t, shell, folder) })
			t.Run("end of input", func(t *testing.T) { lockInputEnds(t, shell, folder, (*lockChild).close) })
			t.Run("free", func(t *testing.T) { lockInputEnds(t, shell, folder, (*lockChild).free) })
			t.Run("killed", func(t *testing.T) { lockHolderIsKilled(t, shell, folder) })
			eventually(t, "nothing is left", func() bool { return len(processesIn(folder)) == 0 })
		})
	}
}

// The first round makes the folder as well.
func lockOneOfHundred(t *testing.T, shell []string, folder string) {
	const takers = 100
	var all []*lockChild
	got := make(chan bool, takers)
	for n := range takers {
		c := lockScripted(t, shell, lockScript, folder, tokenOf(n), hostLease, 0)
		all = append(all, c)
		go func() { got <- c.holds() }()
	}
	have := 0
	for range takers {
		if <-got {
			have++
		}
	}
	if have != 1 {
		t.Errorf("%d have the lock", have)
	}
	for _, c := range all {
		c.stdin.Close()
		if !isClosed(c.held) && c.said.holder().User != "crs" {
			t.Errorf("a taker was told %q", c.said.complaint())
		}
	}
	eventually(t, "the lock is free", func() bool { return len(processesIn(folder)) == 0 })
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Renewals keep the lock, their lack ends it, while the input stays open.
func lockLeaseEnds(t *testing.T, shell []string, folder string) {
	const leaseLength = 2 * time.Second
	c := lockScripted(t, shell, lockScript, folder, tokenOf(0), lease{leaseLength, 0}, 0)
	if !c.holds() {
		t.Fatal(c.said.complaint())
	}
	began := time.Now()
	for time.Since(began) < leaseLength*3/2 {
		_, err := io.WriteString(c.stdin, "renew\n")
		must(t, err)
		time.Sleep(100 * time.Millisecond) // less than the lease: that is what is tried
	}
	silent := time.Now() // the last renewal was just before
	eventually(t, "the lease has ended", func() bool { return len(processesIn(folder)) == 0 })
	if took := time.Since(silent); took < leaseLength/2 {
		t.Errorf("the lock was free after %s", took)
	}
}

// close is the end of the input, free the word that frees the lock before it.
func (c *lockChild) close() error { return c.stdin.Close() }

func (c *lockChild) free() error {
	_, err := io.WriteString(c.stdin, "renew\nfree\n")
	return err
}

func lockInputEnds(t *testing.T, shell []string, folder string, end func(*lockChild) error) {
	for n := range 4 {
		c := lockScripted(t, shell, lockScript, folder, tokenOf(n), hostLease, 0)
		if !c.holds() {
			t.Fatal(c.said.complaint())
		}
		must(t, end(c))
		eventually(t, "it has ended", func() bool { return len(processesIn(folder)) == 0 })
		if left, _ := os.ReadDir(folder); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func lockHolderIsKilled(t *testing.T, shell []string, folder string) {
	for n := range 10 {
		c := lockScripted(t, shell, lockScript, folder, tokenOf(n), hostLease, 0)
		if !c.holds() {
			t.Fatal(c.said.complaint())
		}
		must(t, c.cmd.Process.Kill())
		must(t, c.stdin.Close())
		<-c.ended // what is killed may still run for a moment
	}
}

// flock and perl exclude each other; without both there is an error.
func TestLockTools(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "lock")
	path := os.Getenv("PATH")
	const all = "sh mkdir chmod chown id ls cat mv rm head tr grep sleep "
	with := func(tool string) *lockChild {
		bin := t.TempDir()
		t.Setenv("PATH", path)
		for _, name := range strings.Fields(all + tool) {
			found, err := exec.LookPath(name)
			must(t, err)
			must(t, os.Symlink(found, filepath.Join(bin, name)))
		}
		t.Setenv("PATH", bin)
		return lockScripted(t, []string{"/bin/sh"}, lockScript, folder, tokenOf(len(tool)), hostLease, 0)
	}
	for _, pair := range [][2]string{{"flock", "perl"}, {"perl", "flock"}, {"perl", "perl"}} {
		first := with(pair[0])
		if !first.holds() {
			t.Fatal(first.said.complaint())
		}
		if second := with(pair[1]); second.holds() || second.said.holder().User != "crs" {
			t.Errorf("%v: both have the lock, or %q", pair, second.said.complaint())
		}
		must(t, first.stdin.Close())
		eventually(t, "the lock is free", func() bool { return len(processesIn(folder)) == 0 })
	}
	if none := with(""); none.holds() || !strings.Contains(none.said.complaint(), "needs flock (of util-linux) or perl") {
		t.Errorf("got %q", none.said.complaint())
	}
}

// Where nobody else is about, the shell's own commands do, but for three; and no
// process is looked for where the lock's holder knows that none is left.
func TestLockStartsLittle(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "lock")
	sh := []string{"/bin/sh"}
	must(t, lockScripted(t, sh, lockScript, folder, tokenOf(0), hostLease, 0).close()) // makes the folder
	eventually(t, "the lock is free", func() bool { return len(processesIn(folder)) == 0 })
	bin := t.TempDir()
	ran := filepath.Join(bin, "ran")
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		all, _ := os.ReadDir(dir)
		for _, f := range all {
			script := fmt.Sprintf("#!/bin/sh\necho %s >>%s\nexec %s \"$@\"\n", f.Name(), ran, filepath.Join(dir, f.Name()))
			if file := filepath.Join(bin, f.Name()); len(strings.Trim(f.Name(), "abcdefghijklmnopqrstuvwxyz")) == 0 {
				_ = os.WriteFile(file, []byte(script), 0o755) // the first of a name counts
			}
		}
	}
	t.Setenv("PATH", bin)
	for end, want := range map[string]string{"free\n": "flock rm sleep", "": "flock grep rm sleep"} {
		must(t, os.WriteFile(ran, nil, 0o644))
		c := lockScripted(t, sh, lockScript, folder, tokenOf(1), hostLease, 0)
		if !c.holds() {
			t.Fatal(c.said.complaint())
		}
		has := func(name string) bool { return slices.Contains(linesOf(t, ran), name) }
		eventually(t, "it waits", func() bool { return has("sleep") })
		_, err := io.WriteString(c.stdin, end)
		must(t, err)
		if end == "" {
			must(t, c.stdin.Close())
		}
		<-c.ended
		if got := strings.Join(slices.Compact(slices.Sorted(slices.Values(linesOf(t, ran)))), " "); got != want {
			t.Errorf("with %q at the end %q were started, want %q", end, got, want)
		}
	}
}

func linesOf(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	return strings.Fields(string(text))
}

// Words that are being written are waited for.
func TestLockWordsHalfWritten(t *testing.T) {
	folder := t.TempDir()
	f, err := os.Open(folder)
	must(t, err)
	defer f.Close()
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	words, err := crs.words()
	must(t, err)
	stat, err := os.ReadFile("/proc/self/stat")
	must(t, err)
	line := fmt.Sprintf("%d %s %s", os.Getpid(), strings.Fields(string(stat[bytes.LastIndex(stat, []byte(") ")):]))[20], words)
	file := filepath.Join(folder, "TOKEN")
	for _, half := range []string{"", line[:3], line[:len(line)-1]} {
		must(t, os.WriteFile(file, []byte(half), 0o644))
		bin := t.TempDir() // whoever waits, waits for the rest
		must(t, os.WriteFile(filepath.Join(bin, "sleep"), []byte("#!/bin/sh\nprintf '%s\\n' '"+line+"' >"+file+"\n"), 0o755))
		t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
		c := lockScripted(t, []string{"/bin/sh"}, holderScript, folder, Holder{}, hostLease, 0)
		<-c.ended
		if got := c.said.holder(); got.Run != crs.Run || got.Token != "TOKEN" {
			t.Errorf("after %q: %+v, %q", half, got, c.said.complaint())
		}
	}
}

// Logins of all accounts exclude one another, whoever was first.
func TestLockOfTwoLogins(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs other accounts")
	}
	const nobody, daemon = 65534, 1
	for _, uids := range [][2]uint32{{0, nobody}, {nobody, 0}, {nobody, daemon}} {
		top, err := os.MkdirTemp("", "lock")
		must(t, err)
		defer os.RemoveAll(top)
		must(t, os.Chmod(top, 0o777|os.ModeSticky))
		folder := filepath.Join(top, "lock")
		for _, pair := range [][2]uint32{uids, {uids[1], uids[0]}} {
			first := lockScripted(t, []string{"/bin/sh"}, lockScript, folder, tokenOf(int(pair[0])%7), hostLease, pair[0])
			if !first.holds() {
				t.Fatalf("%v: %s", pair, first.said.complaint())
			}
			second := lockScripted(t, []string{"/bin/sh"}, lockScript, folder, tokenOf(int(pair[1])%7+10), hostLease, pair[1])
			if second.holds() || second.said.holder().Token != tokenOf(int(pair[0])%7).Token {
				t.Errorf("%v: both have the lock, or %q", pair, second.said.complaint())
			}
			must(t, first.stdin.Close())
			eventually(t, "the lock is free", func() bool { return len(processesIn(folder)) == 0 })
		}
		info, err := os.Stat(folder)
		must(t, err)
		if owner := info.Sys().(*syscall.Stat_t).Uid; owner != min(uids[0], uids[1]) && uids[1] != daemon || info.Mode().Perm() != 0o777 || info.Mode()&os.ModeSticky == 0 {
			t.Errorf("%v: the folder is %v of %d", uids, info.Mode(), owner)
		}
	}
}

// The command lines must be one word for whatever shell a login has.
func TestLockScriptsAreOneWord(t *testing.T) {
	for _, text := range []string{lockScript, holderScript, breakScript} {
		line := strings.TrimSuffix(strings.TrimPrefix(oneWord(text, false), "exec /bin/sh -c '"), "'")
		line = strings.ReplaceAll(line, "$!;", "") // no shell takes that for an event
		for _, bad := range []string{"'", "\n", "!", `\\`, started} {
			if i := strings.Index(line, bad); i >= 0 {
				t.Errorf("%q in %q", bad, line[max(0, i-20):])
			}
		}
	}
	folder := filepath.Join(t.TempDir(), "lock")
	for _, login := range []string{"fish", "tcsh", "zsh", "mksh", "bash", "dash"} {
		path, err := exec.LookPath(login)
		must(t, err)
		h := tokenOf(0)
		h.User = "o'brien! \\ \"x\" $HOME `id` \\\\ é漢 100%"
		words, err := h.words()
		must(t, err)
		args := lockArgs(h, words, time.Second, time.Second, "MARK")
		got, err := exec.Command(path, "-c", oneWord(`printf %s "$5"`, false, args...)).Output()
		must(t, err)
		if there := parseHolder(h.Token + " 1 " + string(got)); there.User != h.User || there.Plan != h.Plan {
			t.Errorf("%s makes %q of %q", login, got, words)
		}
		child := exec.Command(path, "-c", oneWord(lockScript, false, args...))
		var said bytes.Buffer
		c := &lockChild{held: make(chan struct{}), said: &lockReport{}}
		c.said.held = func() { close(c.held) }
		child.Env, child.Stderr = append(os.Environ(), "INFRA_LOCK_DIR="+folder), io.MultiWriter(&said, c.marked())
		stdin, err := child.StdinPipe()
		must(t, err)
		must(t, child.Start())
		if !c.holds() {
			t.Errorf("%s: %q", login, c.said.complaint())
		}
		_, err = io.WriteString(stdin, "renew\n")
		must(t, err)
		must(t, stdin.Close())
		must(t, child.Wait())
		if !regexp.MustCompile("(?s)^\x1eMARK start .*\x1eMARK lock held [0-9a-f-]+\n.*\x1eMARK gone\n$").MatchString(said.String()) {
			t.Errorf("%s: %q", login, &said)
		}
	}
}

// A wire passes everything on, until it is cut without a word to either side.
type wire struct {
	port int
	mu   sync.Mutex
	cut  bool
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	w := &wire{port: l.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				return
			}
			t.Cleanup(func() { near.Close(); far.Close() })
			go w.pass(near, far)
			go w.pass(far, near)
		}
	}()
	return w
}

func (w *wire) pass(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		cut := w.cut
		w.mu.Unlock()
		if cut {
			continue // an error is not passed on either
		}
		if err != nil {
			to.Close()
			return
		}
		to.Write(buf[:n])
	}
}

// A network that says nothing any more holds the lock for the lease, and for
// as long as a command of the connection runs.
func TestLockOnSilentNetwork(t *testing.T) {
	t.Parallel()
	s, _ := lockServer(t)
	w := newWire(t, s.address())
	b := s.pool(t)
	config, err := os.ReadFile(s.sshConfig(t))
	must(t, err)
	through := filepath.Join(s.dir, "through")
	must(t, os.WriteFile(through, bytes.Replace(config, []byte("Port "+strconv.Itoa(s.port)), []byte("Port "+strconv.Itoa(w.port)), 1), 0o600))
	a := NewPool(Config{SSHConfig: through, Grace: time.Second})
	l := takeFor(t, a, crs, shortLease)
	id, out, done := marker(), newSignalled(), make(chan error, 1)
	cmd := deaf(id)
	cmd.Stdout = out
	go func() {
		_, err := a.Run(inTime(t), target, cmd)
		done <- err
	}()
	<-out.came
	began := time.Now()
	w.mu.Lock()
	w.cut = true
	w.mu.Unlock()
	heldBy(t, b)
	isLost(t, l, "target has not answered for")
	var got *HostLock
	eventually(t, "the lock is free", func() bool {
		var err error
		got, err = b.lock(inTime(t), target, other, testLease)
		return err == nil
	})
	if found := processes(id); len(found) > 0 {
		t.Errorf("the lock is free, but %q runs", found)
	}
	if took := time.Since(began); took < shortLease.length-shortLease.renewal {
		t.Errorf("the lock was free after %s", took)
	}
	must(t, got.Release())
	complains(t, l.Release(), "has not answered", "")
	must(t, a.Close())
	if err := <-done; !errors.Is(err, runtime.ErrUntold) {
		t.Errorf("the command: %v", err)
	}
}

func FuzzParseHolder(f *testing.F) {
	line, err := crs.words()
	must2(f, err)
	for _, s := range []string{"", " ", "T 1 " + line, "T 1 {}", "T", `T 1 {"user":"\u001b[2J"}`, "T 1 {\"since\":\"x\"}", "T 1 null", "\x1b 1 {}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h := parseHolder(s)
		for _, r := range h.String() + h.Token {
			if !unicode.IsPrint(r) {
				t.Errorf("%q would reach a terminal", r)
			}
		}
		if again, err := h.words(); err != nil || len(again) > 4000 {
			t.Errorf("%d bytes, %v", len(again), err)
		}
	})
}

func must2(f *testing.F, err error) {
	if err != nil {
		f.Fatal(err)
	}
}

func TestHolderSurvivesTheHost(t *testing.T) {
	for _, h := range []Holder{
		crs, {}, {User: "o'brien \"x\" $HOME `id` \\ é漢", Run: "r"}, {Machine: strings.Repeat("m", wordLimit)},
		{Plan: strings.Repeat(`"`, wordLimit), Run: strings.Repeat(`<`, wordLimit), User: "u", Machine: strings.Repeat(`&`, wordLimit)},
	} {
		folder := filepath.Join(t.TempDir(), "lock")
		h.Token = "TOKEN"
		c := lockScripted(t, []string{"/bin/sh"}, lockScript, folder, h, hostLease, 0)
		if !c.holds() {
			t.Fatal(c.said.complaint())
		}
		q := lockScripted(t, []string{"/bin/sh"}, holderScript, folder, Holder{}, hostLease, 0)
		<-q.ended
		got := q.said.holder()
		if !got.Since.Equal(h.Since) {
			t.Errorf("since %s, want %s", got.Since, h.Since)
		}
		got.Since = h.Since
		if got != h {
			t.Errorf("got %+v, want %+v", got, h)
		}
	}
}
