package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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
	for _, test := range []unitTest{
		{"two hosts", unitTwoHosts}, {"lost", unitLost}, {"no disk", unitNoDisk}, {"refused", unitRefused}, {"bash", unitBash},
		{"stopped as it ends", unitStoppedAtItsEnd},
		{"side by side", unitSideBySide}, {"we are killed", unitCrashes}, {"power cut", unitPowerCut}, {"reboot", unitReboot},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, l) })
	}
}

type unitTest struct {
	name string
	run  func(*testing.T, *unitLab)
}

// unitEither is what is tried with each shell.
var unitEither = []unitTest{
	{"as without", unitParity}, {"much output", unitOutput}, {"secrets", unitSecrets}, {"settled", unitSettled},
	{"stopped", unitStopped}, {"daemon", unitDaemon}, {"never begun", unitNeverBegun},
}

// unitSideBySide is all that leaves the rest of the hosts alone. rosegold has a
// bash for sh by now, as NixOS does.
func unitSideBySide(t *testing.T, l *unitLab) {
	bash := &unitLab{fleet: l.fleet, here: l.other, plain: l.plain}
	if shells := l.sh(t, l.here, "readlink /bin/sh") + " " + l.sh(t, bash.here, "readlink /bin/sh"); shells != "dash bash" {
		t.Errorf("the shells are %s", shells)
	}
	for _, test := range append(unitEither, unitTest{"interrupted", unitInterrupted}, unitTest{"without systemd", unitPlain}, unitTest{"killed", unitKilled}) {
		t.Run(test.name, func(t *testing.T) { t.Parallel(); test.run(t, l) })
	}
	for _, test := range unitEither {
		t.Run("bash "+test.name, func(t *testing.T) { t.Parallel(); test.run(t, bash) })
	}
}

func (l *unitLab) pool(t *testing.T) *Pool {
	t.Helper()
	p := NewPool(Config{SSHConfig: l.fleet.SSHConfig(), Grace: 2 * time.Second, ConnectTimeout: hang})
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
				exit, err := p.Run(inTime(t), l.here, cmd)
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
	exit, err := p.Run(inTime(t), l.here, c.Command)
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
	must(t, p.Forget(inTime(t), l.here, c.Command))
}

func unitSecrets(t *testing.T, l *unitLab) {
	p := l.pool(t)
	secret := "s3cret" + marker()
	c := l.command("echo up; read -r x; [ \"$x\" = \"$A_SECRET\" ] && echo same")
	c.Argv[2] += "; until [ -e " + c.goes() + " ]; do sleep .05; done"
	c.Env, c.Stdin = map[string]runtime.Text{"A_SECRET": runtime.PlainText(secret)}, runtime.PlainText(secret+"\n")
	up := newSignalled()
	c.Stdout = up
	done := make(chan error, 1)
	go func() {
		_, err := p.Run(inTime(t), l.here, c.Command)
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
	l.letGo(t, c)
	must(t, <-done)
	look("after its end")
	if up.text.String() != "up\nsame\n" {
		t.Errorf("it got %q", up.text.String())
	}
	must(t, p.Forget(inTime(t), l.here, c.Command))
	if left := l.sh(t, l.here, "ls -d /run/infra/"+c.Unit+"* /var/lib/infra/ops/"+c.Unit+"* 2>/dev/null || true"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// What has ended is told as often as somebody asks.
func unitSettled(t *testing.T, l *unitLab) {
	for _, code := range []int{0, 7, 125} {
		p := l.pool(t)
		c := l.command(fmt.Sprintf("echo out; echo err >&2; exit %d", code))
		_, err := p.Run(inTime(t), l.here, c.Command)
		must(t, err)
		for range 2 {
			c.out.Reset()
			c.err.Reset()
			s, err := l.pool(t).Settle(inTime(t), l.here, c.Command)
			if want := (Settled{Fate: runtime.Done, Exit: Exit{Code: code}}); err != nil || s != want || c.out.String() != "out\n" || c.err.String() != "err\n" {
				t.Errorf("%d: %+v, %v, %q, %q", code, s, err, &c.out, &c.err)
			}
		}
	}
}

func unitPlain(t *testing.T, l *unitLab) {
	p := l.pool(t)
	c := l.command("cat; echo err >&2; exit 4")
	c.Stdin = runtime.PlainText("in")
	exit, err := p.Run(inTime(t), l.plain, c.Command)
	if err != nil || exit.Code != 4 || c.out.String() != "in" || c.err.String() != "err\n" {
		t.Errorf("%v, %v, %q, %q", exit, err, &c.out, &c.err)
	}
	s, err := p.Settle(inTime(t), l.plain, c.Command)
	if err != nil || s.Fate != runtime.Untold || !strings.Contains(s.Why, "systemd does not run blackphos") {
		t.Errorf("%+v, %v", s, err)
	}
	q := l.pool(t)
	_, err = q.Run(inTime(t), l.plain, c.Command)
	must(t, err)
	must(t, q.Close())
	if err := q.Forget(inTime(t), l.plain, c.Command); err != nil {
		t.Errorf("a host that has nothing of a unit is asked to forget it: %v", err)
	}
	if err := q.Forget(inTime(t), l.plain, Command{Unit: marker()}); !errors.Is(err, errClosed) {
		t.Errorf("of another command nobody asks: %v", err)
	}
	must(t, p.Forget(inTime(t), l.plain, c.Command))
	ctx, cancel := context.WithCancelCause(inTime(t))
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
	_, done = l.begun(t, inTime(t), p, l.plain, e)
	began := time.Now()
	must(t, p.Close())
	if err := <-done; !errors.Is(err, runtime.ErrUntold) || time.Since(began) > hang {
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
				if _, err := p.Run(inTime(t), h, c.Command); err != nil || c.out.String() != h.Name+"\n" {
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
	exit, err := p.Run(inTime(t), l.here, c.Command)
	if took := time.Since(began); err != nil || exit.Code != 0 || c.out.String() != "up\n" || took < drainQuiet || took > hang {
		t.Errorf("after %s: %v, %v, %q", took, exit, err, &c.out)
	}
	must(t, p.Forget(inTime(t), l.here, c.Command))
	if l.sh(t, l.here, "pgrep -f 'sleep 31[0]' | wc -l") == "0" {
		t.Error("the daemon was ended")
	}
	l.sh(t, l.here, "systemctl stop infra-"+c.Unit)
	if left := l.sh(t, l.here, "pgrep -f 'sleep 31[0]' || true"); left != "" {
		t.Errorf("stopping the unit leaves processes %s", left)
	}
}

// A command whose beginning could not be kept does not begin.
func unitNoDisk(t *testing.T, l *unitLab) {
	l.sh(t, l.here, "umask 077; mkdir -p /var/lib/infra/ops; mount -t tmpfs -o ro none /var/lib/infra/ops")
	c := l.once("true")
	_, err := l.pool(t).Run(inTime(t), l.here, c.Command)
	if err == nil || errors.Is(err, runtime.ErrUntold) || !strings.Contains(err.Error(), "did not start the command") || !strings.Contains(err.Error(), "Read-only file system") {
		t.Error(err)
	}
	l.sh(t, l.here, "umount /var/lib/infra/ops")
	s, err := l.pool(t).Settle(inTime(t), l.here, c.Command)
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
	exit, err := p.Run(inTime(t), l.other, c.Command)
	if err != nil || exit.Code != 4 || c.out.String() != "in\n0022\n" || c.err.String() != "err\n" {
		t.Errorf("%v, %v, %q, %q", exit, err, &c.out, &c.err)
	}
	s, err := p.Settle(inTime(t), l.other, c.Command)
	if err != nil || s.Fate != runtime.Untold || !strings.Contains(s.Why, "did not run as infra-"+c.Unit) {
		t.Errorf("%+v, %v", s, err)
	}
	must(t, p.Forget(inTime(t), l.other, c.Command))
	if left := l.sh(t, l.other, "ls -A /run/infra /var/lib/infra/ops | grep "+c.Unit+" || true"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// What stops the unit while the end of its command is written down leaves that be.
func unitStoppedAtItsEnd(t *testing.T, l *unitLab) {
	l.sh(t, l.here, "printf '#!/bin/sh\ncase $2 in 143) sleep .5;; esac; exec /bin/ln \"$@\"\n' >/usr/local/sbin/ln; chmod +x /usr/local/sbin/ln")
	defer l.sh(t, l.here, "rm /usr/local/sbin/ln")
	c := l.command("echo up; exit 143")
	_, done := l.begun(t, inTime(t), l.pool(t), l.here, c)
	l.sh(t, l.here, "until pgrep -f 'sbin/ln -s 14[3]'; do sleep .05; done; systemctl stop infra-"+c.Unit)
	if err := <-done; err == nil || errors.Is(err, runtime.ErrUntold) {
		t.Error(err)
	}
	s, err := l.pool(t).Settle(inTime(t), l.here, c.Command)
	if want := (Settled{Fate: runtime.Done, Exit: Exit{143, "TERM"}}); err != nil || s != want {
		t.Errorf("%+v, %v", s, err)
	}
}

// What else is tried with bash leaves the host's sshd alone.
func unitBash(t *testing.T, l *unitLab) {
	l.sh(t, l.other, "ln -sf bash /bin/sh")
	unitLost(t, &unitLab{fleet: l.fleet, here: l.other})
}
