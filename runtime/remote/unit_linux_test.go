package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"infra/examples/lab/fleet"
	"infra/runtime"
)

// A unitLab is hosts that a systemd runs, and one that none does.
type unitLab struct {
	fleet              *fleet.Fleet
	here, other, plain *runtime.Host
}

// TestUnits has one fleet for all that needs a systemd: bringing it up takes longer
// than most of what is tried on it.
func TestUnits(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the lab needs root")
	}
	f, err := fleet.Up(context.Background(), fleet.Options{State: filepath.Join(t.TempDir(), "lab"), Net: fleet.RandomNet(),
		Hosts: []string{"cinnabar", "blackphos", "rosegold"}, Systemd: []string{"cinnabar", "rosegold"}})
	must(t, err)
	t.Cleanup(func() { must(t, f.Down()) })
	l := &unitLab{fleet: f, here: &runtime.Host{Name: "cinnabar"}, other: &runtime.Host{Name: "rosegold"}, plain: &runtime.Host{Name: "blackphos"}}
	for _, test := range []struct {
		name string
		run  func(*testing.T, *unitLab)
	}{
		{"as without", unitParity}, {"much output", unitOutput}, {"secrets", unitSecrets}, {"settled", unitSettled},
		{"interrupted", unitInterrupted}, {"stopped", unitStopped}, {"lost", unitLost}, {"without systemd", unitPlain},
		{"two hosts", unitTwoHosts}, {"daemon", unitDaemon}, {"killed", unitKilled}, {"never begun", unitNeverBegun},
		{"no disk", unitNoDisk}, {"refused", unitRefused}, {"we are killed", unitCrashes}, {"power cut", unitPowerCut}, {"reboot", unitReboot},
		{"bash", unitBash},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, l) })
	}
}

func (l *unitLab) pool(t *testing.T) *Pool {
	t.Helper()
	p := NewPool(Config{SSHConfig: l.fleet.SSHConfig(), Grace: 2 * time.Second, ConnectTimeout: 5 * time.Second})
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

// sh runs a script on a host, past its sshd.
func (l *unitLab) sh(t *testing.T, h *runtime.Host, script string) string {
	t.Helper()
	out, err := l.fleet.Exec(h.Name, "sh", "-c", script)
	must(t, err)
	return strings.TrimSpace(out)
}

// active is whether a unit runs.
func (l *unitLab) active(t *testing.T, h *runtime.Host, unit string) bool {
	t.Helper()
	return l.sh(t, h, "systemctl is-active infra-"+unit+" || true") == "active"
}

// A told command is one with all that came of it.
type toldCommand struct {
	Command
	out, err bytes.Buffer
}

func (l *unitLab) command(script string) *toldCommand {
	c := &toldCommand{Command: Command{Argv: []string{"sh", "-c", script, "sh"}, Unit: marker()}}
	c.Stdout, c.Stderr = &c.out, &c.err
	return c
}

func unitParity(t *testing.T, l *unitLab) {
	p := l.pool(t)
	odd := "a'b\"c\n$x`y`\\ \x81\x01\x7fé"
	script := func(text string) []string { return []string{"sh", "-c", text, "sh", odd} }
	for name, cmd := range map[string]Command{
		"output":         {Argv: script(`printf %s "$1"; printf "%s\n" "$1" >&2`)},
		"no output":      {Argv: script("exit 9")},
		"no newline":     {Argv: script(`printf "a\n\0b"; printf e >&2`)},
		"to its devices": {Argv: script("echo a >/dev/stdout; echo b >/dev/stderr; echo c >/dev/stdout; echo d >/dev/stderr")},
		"both at once":   {Argv: script("for i in $(seq 500); do echo o$i; echo e$i >&2; done")},
		"environment":    {Argv: script("env | grep -v '^_=' | sort"), Env: map[string]runtime.Text{"A": runtime.PlainText(odd), "LANG": runtime.PlainText("C"), "HOME": runtime.PlainText("/x")}},
		"login":          {Argv: script("env | grep -v '^_=' | sort; id; pwd; umask; hostname")},
		"process":        {Argv: script("grep -E '^(SigIgn|SigBlk|Cap|Seccomp|NoNewPrivs|Umask)' /proc/self/status; cat /proc/self/oom_score_adj; nice")},
		"session":        {Argv: script("read -r a </proc/$$/stat; set -- $a; [ $$ = $5 ] && [ $$ = $6 ] && echo leads; tty || true")},
		"descriptors":    {Argv: script("ls /proc/$$/fd; :")},
		"kinds":          {Argv: script("for i in 0 1 2; do stat -L -c %F /proc/$$/fd/$i; done; :")},
		"input":          {Argv: []string{"cat"}, Stdin: runtime.PlainText("a\x00b\n")},
		"no input":       {Argv: script("wc -c; readlink /proc/$$/fd/0")},
		"long input":     {Argv: []string{"sha256sum"}, Stdin: runtime.PlainText(strings.Repeat("0123456789", 300_000))},
		"unread input":   {Argv: script("exit 3"), Stdin: runtime.PlainText(strings.Repeat("x", 300_000))},
		"long argument":  {Argv: []string{"sh", "-c", `printf %s "$1" | wc -c`, "sh", strings.Repeat("y", 100_000)}},
		"folder":         {Argv: []string{"pwd"}, Dir: "/usr/lib"},
		"no folder":      {Argv: []string{"pwd"}, Dir: "/no/such"},
		"no program":     {Argv: []string{"no-such-program"}},
		"no permission":  {Argv: []string{"/etc/passwd"}},
		"pipe":           {Argv: script("yes | head -n 1; echo $?")},
		"exit 125":       {Argv: script("exit 125")}, "exit 127": {Argv: script("exit 127")}, "exit 255": {Argv: script("exit 255")},
		"TERM": {Argv: script("kill -TERM $$")}, "KILL": {Argv: script("kill -KILL $$")}, "SEGV": {Argv: script("kill -SEGV $$")},
		"its group": {Argv: script("trap 'echo heard; exit 4' TERM; kill -TERM 0; sleep 1")},
	} {
		t.Run(name, func(t *testing.T) {
			var told [2]string
			for i, unit := range []string{"", marker()} {
				var out, diag bytes.Buffer
				cmd.Unit, cmd.Stdout, cmd.Stderr = unit, &out, &diag
				exit, err := p.Run(within(t, 30*time.Second), l.here, cmd)
				told[i] = fmt.Sprintf("%v %v\nstdout: %q\nstderr: %q", exit, err, &out, &diag)
				if errors.Is(err, exec.ErrNotFound) {
					told[i] += " not found"
				}
			}
			if told[0] != told[1] {
				t.Errorf("as a unit:\n%s\nwithout:\n%s", told[1], told[0])
			}
		})
	}
}

// More than is kept is not seen, but for the end, and the command does not notice.
func unitOutput(t *testing.T, l *unitLab) {
	p := l.pool(t)
	c := l.command("head -c 50000000 /dev/zero | tr '\\0' x; echo end; head -c 20000000 /dev/zero | tr '\\0' y >&2; echo over >&2")
	exit, err := p.Run(within(t, time.Minute), l.here, c.Command)
	if err != nil || exit.Code != 0 {
		t.Fatal(exit, err)
	}
	for _, s := range []struct {
		text, end string
		all, kept int
	}{{c.out.String(), "end\n", 50_000_004, keptOutput}, {c.err.String(), "over\n", 20_000_005, keptOutput - len(started+"\n")}} {
		note := fmt.Sprintf("\n[%d bytes were not kept]\n", s.all-s.kept-keptTail)
		if len(s.text) != s.kept+keptTail+len(note) || !strings.HasPrefix(s.text[s.kept:], note) || !strings.HasSuffix(s.text, s.end) {
			t.Errorf("%d of %d bytes, %q ... %q", len(s.text), s.all, s.text[:10], s.text[len(s.text)-20:])
		}
	}
	if size := l.sh(t, l.here, "du -sm /run/infra/"+c.Unit+" | cut -f1"); len(size) > 2 || size > "25" {
		t.Errorf("/run holds %s MiB of it", size)
	}
	must(t, p.Forget(within(t, 10*time.Second), l.here, c.Command))
}

func unitSecrets(t *testing.T, l *unitLab) {
	p := l.pool(t)
	secret := "s3cret" + marker()
	c := l.command("echo up; read -r x; [ \"$x\" = \"$A_SECRET\" ] && echo same; sleep 1")
	c.Env, c.Stdin = map[string]runtime.Text{"A_SECRET": runtime.PlainText(secret)}, runtime.PlainText(secret+"\n")
	up := newSignalled()
	c.Stdout = up
	done := make(chan error, 1)
	go func() {
		_, err := p.Run(within(t, 20*time.Second), l.here, c.Command)
		done <- err
	}()
	look := func(when string) {
		if found := processes(secret); len(found) > 0 {
			t.Errorf("%s: in the argument list of %q", when, found)
		}
		for _, where := range []string{"systemctl show infra-" + c.Unit, "systemctl cat infra-" + c.Unit + " || true", "journalctl -o export",
			"find /run /var/lib /var/log /var/tmp /tmp /dev/shm /etc /root -type f -exec cat {} + 2>/dev/null || true"} {
			text := l.sh(t, l.here, where)
			if strings.Contains(text, secret) {
				t.Errorf("%s: in what %s prints", when, where)
			}
			if when == "while it runs" && !strings.Contains(text, c.Unit) {
				t.Errorf("%s does not print the unit", where)
			}
		}
		if modes := l.sh(t, l.here, "stat -c %a%u /run/infra /run/infra/"+c.Unit+" /var/lib/infra /var/lib/infra/ops"); modes != "7000\n7000\n7000\n7000" {
			t.Errorf("%s: the folders have modes and owners %q", when, modes)
		}
	}
	<-up.came
	look("while it runs")
	must(t, <-done)
	look("after its end")
	if up.text.String() != "up\nsame\n" {
		t.Errorf("it got %q", up.text.String())
	}
	must(t, p.Forget(within(t, 10*time.Second), l.here, c.Command))
	if left := l.sh(t, l.here, "ls -d /run/infra/"+c.Unit+"* /var/lib/infra/ops/"+c.Unit+"* 2>/dev/null || true"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// What has ended is told as often as somebody asks.
func unitSettled(t *testing.T, l *unitLab) {
	for _, code := range []int{0, 7, 125} {
		p := l.pool(t)
		c := l.command(fmt.Sprintf("echo out; echo err >&2; exit %d", code))
		_, err := p.Run(within(t, 20*time.Second), l.here, c.Command)
		must(t, err)
		for range 2 {
			c.out.Reset()
			c.err.Reset()
			s, err := l.pool(t).Settle(within(t, 20*time.Second), l.here, c.Command)
			if want := (Settled{Fate: runtime.Done, Exit: Exit{Code: code}}); err != nil || s != want || c.out.String() != "out\n" || c.err.String() != "err\n" {
				t.Errorf("%d: %+v, %v, %q, %q", code, s, err, &c.out, &c.err)
			}
		}
	}
}

// begun starts a command in the background, and returns once it has printed.
func (l *unitLab) begun(t *testing.T, ctx context.Context, p *Pool, h *runtime.Host, c *toldCommand) (out *signalled, done chan error) {
	t.Helper()
	out, done = newSignalled(), make(chan error, 1)
	cmd := c.Command
	cmd.Stdout = out
	go func() {
		exit, err := p.Run(ctx, h, cmd)
		if err == nil && exit.Code != 0 {
			err = fmt.Errorf("%+v", exit)
		}
		done <- err
	}()
	select {
	case <-out.came:
	case err := <-done:
		t.Fatal("it ended before it printed: ", err)
	}
	return out, done
}

// once is a command that counts how often it is run, and takes its time.
func (l *unitLab) once(wait string) *toldCommand {
	c := l.command("")
	c.Argv[2] = "echo x >>/root/" + c.Unit + "; echo first; " + wait + "; echo last; printf diag >&2"
	return c
}

// settle wants the whole output of a command that was carried out once.
func (l *unitLab) settle(t *testing.T, h *runtime.Host, c *toldCommand) {
	t.Helper()
	c.out.Reset()
	c.err.Reset()
	s, err := l.pool(t).Settle(within(t, 30*time.Second), h, c.Command)
	if want := (Settled{Fate: runtime.Done}); err != nil || s != want || c.out.String() != "first\nlast\n" || c.err.String() != "diag" {
		t.Errorf("%+v, %v, %q, %q", s, err, &c.out, &c.err)
	}
	if n := l.sh(t, h, "wc -l </root/"+c.Unit); n != "1" {
		t.Errorf("it was carried out %s times", n)
	}
}

func unitInterrupted(t *testing.T, l *unitLab) {
	c := l.once("sleep 2")
	ctx, cancel := context.WithCancelCause(within(t, 20*time.Second))
	_, done := l.begun(t, ctx, l.pool(t), l.here, c)
	cancel(fmt.Errorf("Ctrl-C: %w", runtime.ErrInterrupted))
	began := time.Now()
	err := <-done
	if took := time.Since(began); took > time.Second {
		t.Errorf("it was waited for: %s", took)
	}
	if !errors.Is(err, runtime.ErrInterrupted) || errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "goes on as infra-"+c.Unit) ||
		!strings.Contains(runtime.HintOf(err), "systemctl stop infra-"+c.Unit+" on cinnabar") {
		t.Errorf("%v (%s)", err, runtime.HintOf(err))
	}
	if !l.active(t, l.here, c.Unit) {
		t.Error("the command does not go on")
	}
	l.settle(t, l.here, c)
}

func unitStopped(t *testing.T, l *unitLab) {
	why := errors.New("the timeout is over")
	for name, script := range map[string]string{
		"plain":         "echo up; sleep 300",
		"with children": "sleep 300 & setsid sleep 300 & echo up; wait",
		"deaf":          "trap '' TERM; echo up; sleep 300; sleep 300",
		"deaf child":    "(trap '' TERM; sleep 300; sleep 300) >/dev/null 2>&1 & echo up; sleep 300",
	} {
		t.Run(name, func(t *testing.T) {
			c := l.command(script)
			ctx, cancel := context.WithCancelCause(within(t, 20*time.Second))
			_, done := l.begun(t, ctx, l.pool(t), l.here, c)
			cancel(why)
			if err := <-done; !errors.Is(err, why) || errors.Is(err, ErrLost) {
				t.Error(err)
			}
			if l.active(t, l.here, c.Unit) {
				t.Error("the unit goes on")
			}
			if left := l.sh(t, l.here, "pgrep -f 'sleep 30[0]' || true"); left != "" {
				t.Errorf("processes %s are left", left)
			}
		})
	}
	t.Run("while settled", func(t *testing.T) {
		c := l.command("echo up; sleep 300")
		ctx, cancel := context.WithCancelCause(within(t, 20*time.Second))
		_, done := l.begun(t, ctx, l.pool(t), l.here, c)
		cancel(runtime.ErrInterrupted)
		<-done
		ctx, stop := context.WithTimeoutCause(within(t, 20*time.Second), time.Second, why)
		defer stop()
		s, err := l.pool(t).Settle(ctx, l.here, c.Command)
		if s.Fate != runtime.Done || !errors.Is(err, why) || errors.Is(err, ErrLost) || l.active(t, l.here, c.Unit) {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// sessionPids are the sshd processes of a host's sessions.
func (l *unitLab) endSessions(t *testing.T, h *runtime.Host) {
	l.sh(t, h, "pkill -KILL sshd-session || true")
}

// What is under way when the connection is lost is seen to its end all the same.
func unitLost(t *testing.T, l *unitLab) {
	c := l.once("sleep 2")
	out, done := l.begun(t, within(t, 30*time.Second), l.pool(t), l.here, c)
	l.endSessions(t, l.here)
	if err := <-done; err != nil || out.text.String() != "first\nlast\n" || c.err.String() != "diag" {
		t.Errorf("%v, %q, %q", err, out.text.String(), &c.err)
	}
	l.settle(t, l.here, c)
}

func unitPlain(t *testing.T, l *unitLab) {
	p := l.pool(t)
	c := l.command("cat; echo err >&2; exit 4")
	c.Stdin = runtime.PlainText("in")
	exit, err := p.Run(within(t, 20*time.Second), l.plain, c.Command)
	if err != nil || exit.Code != 4 || c.out.String() != "in" || c.err.String() != "err\n" {
		t.Errorf("%v, %v, %q, %q", exit, err, &c.out, &c.err)
	}
	s, err := p.Settle(within(t, 20*time.Second), l.plain, c.Command)
	if err != nil || s.Fate != runtime.Untold || !strings.Contains(s.Why, "systemd does not run blackphos") {
		t.Errorf("%+v, %v", s, err)
	}
	must(t, p.Forget(within(t, 20*time.Second), l.plain, c.Command))
	ctx, cancel := context.WithCancelCause(within(t, 20*time.Second))
	d := l.command("echo up; sleep 300")
	_, done := l.begun(t, ctx, p, l.plain, d)
	cancel(runtime.ErrInterrupted)
	if err := <-done; !errors.Is(err, runtime.ErrInterrupted) || strings.Contains(err.Error(), "goes on") {
		t.Error(err)
	}
	if left := l.sh(t, l.plain, "ls -d /run/infra /var/lib/infra 2>/dev/null; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 30[0]' || true"); left != "" {
		t.Errorf("left: %s", left)
	}
	e := l.command("echo up; sleep 300")
	_, done = l.begun(t, within(t, 20*time.Second), p, l.plain, e)
	began := time.Now()
	must(t, p.Close())
	if err := <-done; !errors.Is(err, ErrLost) || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

func unitTwoHosts(t *testing.T, l *unitLab) {
	p := l.pool(t)
	unit := marker()
	var both sync.WaitGroup
	for _, h := range []*runtime.Host{l.here, l.other} {
		for i := range 5 {
			both.Go(func() {
				c := l.command("hostname; sleep .2")
				c.Unit = fmt.Sprint(unit, "-", i)
				if _, err := p.Run(within(t, 30*time.Second), h, c.Command); err != nil || c.out.String() != h.Name+"\n" {
					t.Errorf("%s: %v, %q", h.Name, err, &c.out)
				}
			})
		}
	}
	both.Wait()
}

// A daemon of the command is left alone, and does not hold the command up.
func unitDaemon(t *testing.T, l *unitLab) {
	p := l.pool(t)
	c := l.command("setsid sh -c 'sleep 310; :' & echo up")
	began := time.Now()
	exit, err := p.Run(within(t, 30*time.Second), l.here, c.Command)
	if took := time.Since(began); err != nil || exit.Code != 0 || c.out.String() != "up\n" || took < drainQuiet || took > drainQuiet+5*time.Second {
		t.Errorf("after %s: %v, %v, %q", took, exit, err, &c.out)
	}
	must(t, p.Forget(within(t, 10*time.Second), l.here, c.Command))
	if l.sh(t, l.here, "pgrep -f 'sleep 31[0]' | wc -l") == "0" {
		t.Error("the daemon was ended")
	}
	l.sh(t, l.here, "systemctl stop infra-"+c.Unit)
	if left := l.sh(t, l.here, "pgrep -f 'sleep 31[0]' || true"); left != "" {
		t.Errorf("stopping the unit leaves processes %s", left)
	}
}

func unitKilled(t *testing.T, l *unitLab) {
	for name, c := range map[string]struct {
		how  string
		want Settled
	}{
		"by stop":  {"systemctl stop infra-", Settled{Fate: runtime.Done, Exit: Exit{143, "TERM"}}},
		"outright": {"systemctl kill -s KILL infra-", Settled{}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := l.command("echo up; sleep 300")
			_, done := l.begun(t, within(t, 20*time.Second), l.pool(t), l.here, cmd)
			l.sh(t, l.here, c.how+cmd.Unit)
			if err := <-done; err == nil || errors.Is(err, ErrLost) != (c.want.Fate == runtime.Untold) {
				t.Error(err)
			}
			s, err := l.pool(t).Settle(within(t, 20*time.Second), l.here, cmd.Command)
			if c.want.Fate == runtime.Untold && strings.Contains(s.Why, "was killed") {
				s.Why = ""
			}
			if err != nil || s != c.want {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// What was settled never to begin does not, and can be run again.
func unitNeverBegun(t *testing.T, l *unitLab) {
	c := l.once("sleep .1")
	p := l.pool(t)
	for range 3 { // as many processes that were killed before they had begun it
		s, err := l.pool(t).Settle(within(t, 20*time.Second), l.here, c.Command)
		if err != nil || s != (Settled{Fate: runtime.NotDone}) {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if _, err := p.Run(within(t, 20*time.Second), l.here, c.Command); err == nil || !strings.Contains(err.Error(), "claimed before") {
		t.Errorf("one that comes late: %v", err)
	}
	s, err := p.Settle(within(t, 20*time.Second), l.here, c.Command)
	if err != nil || s != (Settled{Fate: runtime.NotDone}) {
		t.Fatalf("%+v, %v", s, err)
	}
	_, err = p.Run(within(t, 20*time.Second), l.here, c.Command)
	must(t, err)
	l.settle(t, l.here, c)
	must(t, p.Forget(within(t, 20*time.Second), l.here, c.Command))

	missing := &toldCommand{Command: Command{Argv: []string{"no-such-program"}, Unit: marker()}}
	_, err = p.Run(within(t, 20*time.Second), l.here, missing.Command)
	if !errors.Is(err, exec.ErrNotFound) {
		t.Error(err)
	}
	s, err = l.pool(t).Settle(within(t, 20*time.Second), l.here, missing.Command)
	if err != nil || s != (Settled{Fate: runtime.NotDone}) {
		t.Errorf("what could not begin: %+v, %v", s, err)
	}
}

// TestUnitDies is the infra that unitCrashes kills.
func TestUnitDies(t *testing.T) {
	config, unit, ok := strings.Cut(os.Getenv("INFRA_TEST_UNIT"), " ")
	if !ok {
		t.Skip("unitCrashes runs it")
	}
	l := &unitLab{}
	c := l.once("sleep .3")
	c.Argv[2], c.Unit = strings.ReplaceAll(c.Argv[2], c.Unit, unit), unit
	p := NewPool(Config{SSHConfig: config})
	defer p.Close()
	_, err := p.Run(context.Background(), &runtime.Host{Name: "cinnabar"}, c.Command)
	must(t, err)
}

// Whenever infra is killed, the command is carried out once.
func unitCrashes(t *testing.T, l *unitLab) {
	var mu sync.Mutex
	forgotten := map[string]bool{}
	crash := func(after time.Duration) (fate string, took time.Duration) {
		c := l.once("")
		infra := exec.Command(os.Args[0], "-test.run=^TestUnitDies$")
		infra.Env = append(os.Environ(), "INFRA_TEST_UNIT="+l.fleet.SSHConfig()+" "+c.Unit)
		infra.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		began := time.Now()
		must(t, infra.Start())
		kill := time.AfterFunc(after, func() { _ = syscall.Kill(-infra.Process.Pid, syscall.SIGKILL) })
		err := infra.Wait()
		kill.Stop()
		took = time.Since(began)
		if after > time.Minute {
			must(t, err)
		}
		p := l.pool(t)
		s, err := p.Settle(within(t, 30*time.Second), l.here, c.Command)
		if err != nil {
			t.Errorf("killed after %s: %v", after, err)
			return "", took
		}
		fate = fmt.Sprint(s.Fate)
		if s.Fate == runtime.NotDone {
			again := l.once("sleep .3")
			again.Argv[2], again.Unit = strings.ReplaceAll(again.Argv[2], again.Unit, c.Unit), c.Unit
			_, err := p.Run(within(t, 30*time.Second), l.here, again.Command)
			must(t, err)
		}
		l.settle(t, l.here, c)
		must(t, p.Forget(within(t, 30*time.Second), l.here, c.Command))
		mu.Lock()
		forgotten[c.Unit] = true
		mu.Unlock()
		return fate, took
	}
	_, whole := crash(time.Hour)
	const points = 40
	fates, next := map[string]int{}, make(chan time.Duration, points)
	for i := range points {
		next <- whole * time.Duration(2*i+rand.IntN(3)) / (2 * points) * 11 / 10
	}
	close(next)
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			for after := range next {
				fate, _ := crash(after)
				mu.Lock()
				fates[fate]++
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	t.Logf("%d kill points in %s: %v", points, whole, fates)
	if len(fates) < 2 {
		t.Errorf("all had the same fate: %v", fates)
	}
	for unit := range forgotten {
		if left := l.sh(t, l.here, "ls -d /var/lib/infra/ops/"+unit+"* 2>/dev/null || true"); left != "" {
			t.Errorf("left: %s", left)
		}
	}
}

// What had begun when the power went is untold, and what had ended is known.
func unitPowerCut(t *testing.T, l *unitLab) {
	runs, ended := l.command("echo up; sleep 300"), l.command("echo gone; exit 6")
	p := l.pool(t)
	if _, err := p.Run(within(t, 20*time.Second), l.here, ended.Command); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(within(t, 60*time.Second))
	_, done := l.begun(t, ctx, p, l.here, runs)
	must(t, l.fleet.PowerOff("cinnabar"))
	cancel(runtime.ErrInterrupted)
	<-done
	must(t, l.fleet.PowerOn(t.Context(), "cinnabar"))
	l.afterBoot(t, runs, ended)
}

func (l *unitLab) afterBoot(t *testing.T, runs, ended *toldCommand) {
	t.Helper()
	p := l.pool(t)
	for range 2 {
		s, err := p.Settle(within(t, 20*time.Second), l.here, runs.Command)
		if err != nil || s.Fate != runtime.Untold || !strings.Contains(s.Why, "not ended when cinnabar went down") {
			t.Errorf("%+v, %v", s, err)
		}
		s, err = p.Settle(within(t, 20*time.Second), l.here, ended.Command)
		if want := (Settled{Fate: runtime.Done, Exit: Exit{Code: 6}, Mute: true}); err != nil || s != want {
			t.Errorf("%+v, %v", s, err)
		}
	}
}

// A reboot ends the command, which can still say so, and the error is that of
// the command itself.
func unitReboot(t *testing.T, l *unitLab) {
	c := l.command("echo up; sleep 300")
	_, done := l.begun(t, within(t, 60*time.Second), l.pool(t), l.here, c)
	must(t, l.fleet.Reboot(t.Context(), "cinnabar"))
	err := <-done
	t.Log(err)
	s, err := l.pool(t).Settle(within(t, 20*time.Second), l.here, c.Command)
	if want := (Settled{Fate: runtime.Done, Exit: Exit{143, "TERM"}, Mute: true}); err != nil || s != want {
		t.Errorf("%+v, %v", s, err)
	}
}

// A command whose beginning could not be kept does not begin.
func unitNoDisk(t *testing.T, l *unitLab) {
	l.sh(t, l.here, "umask 077; mkdir -p /var/lib/infra/ops; mount -t tmpfs -o ro none /var/lib/infra/ops")
	c := l.once("true")
	_, err := l.pool(t).Run(within(t, 20*time.Second), l.here, c.Command)
	if err == nil || errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "did not start the command") || !strings.Contains(err.Error(), "Read-only file system") {
		t.Error(err)
	}
	l.sh(t, l.here, "umount /var/lib/infra/ops")
	s, err := l.pool(t).Settle(within(t, 20*time.Second), l.here, c.Command)
	if err != nil || s != (Settled{Fate: runtime.NotDone}) {
		t.Errorf("%+v, %v", s, err)
	}
	if ran := l.sh(t, l.here, "ls /root/"+c.Unit+" 2>/dev/null || true"); ran != "" {
		t.Error("it ran")
	}
}

// A systemd that does not take the unit, an old one say, is done without.
func unitRefused(t *testing.T, l *unitLab) {
	l.sh(t, l.other, "printf '#!/bin/sh\necho no such property >&2; exit 1\n' >/usr/local/sbin/systemd-run; chmod +x /usr/local/sbin/systemd-run")
	defer l.sh(t, l.other, "rm /usr/local/sbin/systemd-run")
	p := l.pool(t)
	c := l.command("cat; umask; echo err >&2; exit 4")
	c.Stdin = runtime.PlainText("in\n")
	exit, err := p.Run(within(t, 20*time.Second), l.other, c.Command)
	if err != nil || exit.Code != 4 || c.out.String() != "in\n0022\n" || c.err.String() != "err\n" {
		t.Errorf("%v, %v, %q, %q", exit, err, &c.out, &c.err)
	}
	s, err := p.Settle(within(t, 20*time.Second), l.other, c.Command)
	if err != nil || s.Fate != runtime.Untold || !strings.Contains(s.Why, "did not run as infra-"+c.Unit) {
		t.Errorf("%+v, %v", s, err)
	}
	must(t, p.Forget(within(t, 20*time.Second), l.other, c.Command))
	if left := l.sh(t, l.other, "ls -A /run/infra /var/lib/infra/ops | grep "+c.Unit+" || true"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// NixOS has a bash for sh.
func unitBash(t *testing.T, l *unitLab) {
	l.sh(t, l.here, "ln -sf bash /bin/sh")
	for name, test := range map[string]func(*testing.T, *unitLab){"as without": unitParity, "much output": unitOutput, "secrets": unitSecrets,
		"settled": unitSettled, "stopped": unitStopped, "lost": unitLost, "daemon": unitDaemon, "never begun": unitNeverBegun} {
		t.Run(name, func(t *testing.T) { test(t, l) })
	}
}
