package remote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"infra/runtime"
)

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

// goes is what such a command waits for, and letGo does it.
func (c *toldCommand) goes() string { return "/root/go-" + c.Unit }

func (l *unitLab) letGo(t *testing.T, c *toldCommand) { l.sh(t, l.here, "touch "+c.goes()) }

// held is a command that goes on when it is let go.
func (l *unitLab) held() *toldCommand {
	c := l.once("")
	c.Argv[2] = strings.Replace(c.Argv[2], "; ; ", "; until [ -e "+c.goes()+" ]; do sleep .05; done; ", 1)
	return c
}

// settle wants the whole output of a command that was carried out once.
func (l *unitLab) settle(t *testing.T, h *runtime.Host, c *toldCommand) {
	t.Helper()
	c.out.Reset()
	c.err.Reset()
	s, err := l.pool(t).Settle(inTime(t), h, c.Command)
	if want := (Settled{Fate: runtime.Done}); err != nil || s != want || c.out.String() != "first\nlast\n" || c.err.String() != "diag" {
		t.Errorf("%+v, %v, %q, %q", s, err, &c.out, &c.err)
	}
	if n := l.sh(t, h, "wc -l </root/"+c.Unit); n != "1" {
		t.Errorf("it was carried out %s times", n)
	}
}

func unitInterrupted(t *testing.T, l *unitLab) {
	c := l.held()
	ctx, cancel := context.WithCancelCause(inTime(t))
	_, done := l.begun(t, ctx, l.pool(t), l.here, c)
	cancel(fmt.Errorf("Ctrl-C: %w", runtime.ErrInterrupted))
	err := <-done // the command has not ended
	if !errors.Is(err, runtime.ErrInterrupted) || errors.Is(err, runtime.ErrUntold) || !strings.Contains(err.Error(), "goes on as infra-"+c.Unit) ||
		!strings.Contains(runtime.HintOf(err), "systemctl stop infra-"+c.Unit+" on cinnabar") {
		t.Errorf("%v (%s)", err, runtime.HintOf(err))
	}
	if !l.active(t, l.here, c.Unit) {
		t.Error("the command does not go on")
	}
	l.letGo(t, c)
	l.settle(t, l.here, c)
}

func unitStopped(t *testing.T, l *unitLab) {
	why := errors.New("the timeout is over")
	for name, script := range map[string]string{
		"plain":         "echo up; sleep 301",
		"with children": "sleep 302 & setsid sleep 302 & echo up; wait",
		"deaf":          "trap '' TERM; echo up; sleep 303; sleep 303",
		"deaf child":    "(trap '' TERM; sleep 304; sleep 304) >/dev/null 2>&1 & echo up; sleep 304",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := l.command(script)
			ctx, cancel := context.WithCancelCause(inTime(t))
			_, done := l.begun(t, ctx, l.pool(t), l.here, c)
			cancel(why)
			if err := <-done; !errors.Is(err, why) || errors.Is(err, runtime.ErrUntold) {
				t.Error(err)
			}
			if l.active(t, l.here, c.Unit) {
				t.Error("the unit goes on")
			}
			if left := l.sh(t, l.here, "pgrep -f 'sleep 30["+script[len(script)-1:]+"]' || true"); left != "" {
				t.Errorf("processes %s are left", left)
			}
		})
	}
	t.Run("while settled", func(t *testing.T) {
		t.Parallel()
		c := l.command("echo up; sleep 300")
		ctx, cancel := context.WithCancelCause(inTime(t))
		_, done := l.begun(t, ctx, l.pool(t), l.here, c)
		cancel(runtime.ErrInterrupted)
		<-done
		ctx, cancel = context.WithCancelCause(inTime(t))
		out := newSignalled()
		settled := c.Command
		settled.Stdout = out
		go func() { <-out.came; cancel(why) }()
		s, err := l.pool(t).Settle(ctx, l.here, settled)
		if s.Fate != runtime.Done || !errors.Is(err, why) || errors.Is(err, runtime.ErrUntold) || l.active(t, l.here, c.Unit) {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// endSessions kills the sshd of every session on a host.
func (l *unitLab) endSessions(t *testing.T, h *runtime.Host) {
	l.sh(t, h, "pkill -KILL sshd-session || true")
}

// What is under way when the connection is lost is seen to its end all the same.
func unitLost(t *testing.T, l *unitLab) {
	c := l.held()
	out, done := l.begun(t, inTime(t), l.pool(t), l.here, c)
	l.endSessions(t, l.here)
	l.letGo(t, c)
	if err := <-done; err != nil || out.text.String() != "first\nlast\n" || c.err.String() != "diag" {
		t.Errorf("%v, %q, %q", err, out.text.String(), &c.err)
	}
	l.settle(t, l.here, c)
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
			t.Parallel()
			cmd := l.command("echo up; sleep 300")
			_, done := l.begun(t, inTime(t), l.pool(t), l.here, cmd)
			l.sh(t, l.here, c.how+cmd.Unit)
			if err := <-done; err == nil || errors.Is(err, runtime.ErrUntold) != (c.want.Fate == runtime.Untold) {
				t.Error(err)
			}
			s, err := l.pool(t).Settle(inTime(t), l.here, cmd.Command)
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
		s, err := l.pool(t).Settle(inTime(t), l.here, c.Command)
		if err != nil || s != (Settled{Fate: runtime.NotDone}) {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if _, err := p.Run(inTime(t), l.here, c.Command); err == nil || !strings.Contains(err.Error(), "claimed before") {
		t.Errorf("one that comes late: %v", err)
	}
	s, err := p.Settle(inTime(t), l.here, c.Command)
	if err != nil || s != (Settled{Fate: runtime.NotDone}) {
		t.Fatalf("%+v, %v", s, err)
	}
	_, err = p.Run(inTime(t), l.here, c.Command)
	must(t, err)
	l.settle(t, l.here, c)
	must(t, p.Forget(inTime(t), l.here, c.Command))

	missing := &toldCommand{Command: Command{Argv: []string{"no-such-program"}, Unit: marker()}}
	_, err = p.Run(inTime(t), l.here, missing.Command)
	if !errors.Is(err, exec.ErrNotFound) {
		t.Error(err)
	}
	s, err = l.pool(t).Settle(inTime(t), l.here, missing.Command)
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
		s, err := p.Settle(inTime(t), l.here, c.Command)
		if err != nil {
			t.Errorf("killed after %s: %v", after, err)
			return "", took
		}
		fate = fmt.Sprint(s.Fate)
		if s.Fate == runtime.NotDone {
			again := l.once("sleep .3")
			again.Argv[2], again.Unit = strings.ReplaceAll(again.Argv[2], again.Unit, c.Unit), c.Unit
			_, err := p.Run(inTime(t), l.here, again.Command)
			must(t, err)
		}
		l.settle(t, l.here, c)
		must(t, p.Forget(inTime(t), l.here, c.Command))
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
	for range 4 {
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
	if _, err := p.Run(inTime(t), l.here, ended.Command); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(inTime(t))
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
		s, err := p.Settle(inTime(t), l.here, runs.Command)
		if err != nil || s.Fate != runtime.Untold || !strings.Contains(s.Why, "not ended when cinnabar went down") {
			t.Errorf("%+v, %v", s, err)
		}
		s, err = p.Settle(inTime(t), l.here, ended.Command)
		if want := (Settled{Fate: runtime.Done, Exit: Exit{Code: 6}, Mute: true}); err != nil || s != want {
			t.Errorf("%+v, %v", s, err)
		}
	}
}

// A reboot ends the command, which may still have had the time to say so: what
// was said of it then is what the host says afterwards.
func unitReboot(t *testing.T, l *unitLab) {
	c := l.command("echo up; sleep 300")
	_, done := l.begun(t, inTime(t), l.pool(t), l.here, c)
	must(t, l.fleet.Reboot(t.Context(), "cinnabar"))
	said := <-done
	s, err := l.pool(t).Settle(inTime(t), l.here, c.Command)
	want := Settled{Fate: runtime.Done, Exit: Exit{143, "TERM"}, Mute: true}
	if errors.Is(said, runtime.ErrUntold) {
		want = Settled{Why: s.Why}
		if !strings.Contains(s.Why, "not ended when cinnabar went down") || !strings.Contains(said.Error(), s.Why) {
			t.Errorf("%v, then %q", said, s.Why)
		}
	}
	if err != nil || s != want {
		t.Errorf("%v, then %+v, %v", said, s, err)
	}
}
