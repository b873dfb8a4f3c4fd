package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSwitchAndInfraIsKilled: the host goes back without infra, a boot goes back by
// itself, and a run that is resumed in time confirms what ran before it as the previous
// system.
func TestSwitchAndInfraIsKilled(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	wentBack := func(s *switched) { s.wait("the host went back", func() bool { return s.state() == backAtOld }) }
	const tellsOfIt = "cinnabar went back to OLD by itself, since infra had ended before it confirmed NEW; nothing speaks against that, so it is tried anew"
	for _, tt := range []struct {
		name      string
		within    string
		broken    string
		meanwhile func(*switched)
		code      int
		says      []string
		state     string
	}{
		{"resumed in time", "60s", "", func(*switched) {}, exitOK, []string{"changed True, previous OLD, current NEW"}, confirmedNew},
		{"resumed too late", "5s", "", wentBack, exitOK,
			[]string{tellsOfIt, "changed True, previous OLD, current NEW"}, confirmedNew},
		{"resumed too late, and the system is ill", "5s", "touch /ill", wentBack, exitFailed,
			[]string{tellsOfIt, "check well: it is ill", "rolled back by the host itself to OLD"}, backAtOld},
		{"the host is booted", "60s", "", func(s *switched) {
			if err := s.fleet.Reboot(s.Context(), "cinnabar"); err != nil {
				s.Fatal(err)
			}
		}, exitFailed, []string{"booted", "the host runs OLD, as before"}, "OLD OLD OLD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &switched{s.with(t), s.old, s.new}
			s.reset()
			s.write("plans/t.star", fmt.Sprintf(switchPlan, s.new, tt.within, ""))
			s.fault("touch /activating; sleep 1; "+tt.broken, "rm -f /ill")
			cmd, lines := s.start("nix.switch.activate", "plans/t.star")
			s.wait("it is activated", func() bool { return strings.HasPrefix(s.state(), "NEW") })
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_, _ = io.ReadAll(lines)
			_ = cmd.Wait()
			tt.meanwhile(s)
			said := s.names(s.infra("resume"))
			said.want(t, tt.code, tt.says...)
			if got := s.state(); got != tt.state {
				t.Errorf("the host has %s, want %s", got, tt.state)
			}
			if testing.Verbose() {
				t.Log(said.stderr)
			}
		})
	}
}

// TestSwitchIsResumedAfterTheHostWentBack: what the host took back is done anew, as
// often as the run is resumed.
func TestSwitchIsResumedAfterTheHostWentBack(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	for _, tt := range []struct{ name, broken, mended string }{
		{"the activation failed", "exit 2", ""},
		{"a check failed", "touch /ill", "rm -f /ill"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &switched{s.with(t), s.old, s.new}
			s.reset()
			s.fault(tt.broken, tt.mended)
			back := []string{"rolled back by the host itself to OLD", "hint: infra resume tries the same system again"}
			s.names(s.switches("10s", "")).want(t, exitFailed, back...)
			s.names(s.infra("resume")).want(t, exitFailed, back...)
			if got := s.state(); got != backAtOld {
				t.Errorf("the host has %s, want %s", got, backAtOld)
			}
			s.exec("cinnabar", "rm", "-f", "/etc/lab-fault", "/ill")
			s.names(s.infra("resume")).want(t, exitOK, "changed True, previous OLD, current NEW")
			if got := s.state(); got != confirmedNew {
				t.Errorf("the host has %s, want %s", got, confirmedNew)
			}
		})
	}
}

// TestSwitchAndTheConfirmationIsLost cuts the link when the confirmation is on its way,
// for less and for more than the host waits.
func TestSwitchAndTheConfirmationIsLost(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	link, err := s.fleet.Link("cinnabar", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := link.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, tt := range []struct {
		name   string
		marker string // the operation that is asked for; "" waits for the activation on the host
		within string
		cut    time.Duration
		code   int // -1: whichever the moment makes it
	}{
		{"the confirmation, for a moment", "nix.switch.confirm", "20s", 2 * time.Second, exitOK},
		{"the confirmation, for too long", "nix.switch.confirm", "5s", 15 * time.Second, -1},
		{"the activation, for too long", "", "5s", 15 * time.Second, exitFailed},
		{"the activation, for a moment", "", "20s", 10 * time.Second, exitOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &switched{s.with(t), s.old, s.new}
			s.reset()
			s.fault("touch /ill; sleep 1; rm /ill", "")
			s.write("plans/t.star", fmt.Sprintf(switchPlan, s.new, tt.within, ""))
			cmd, lines := s.start(or(tt.marker, "nix.switch.activate"), "plans/t.star")
			if tt.marker == "" {
				s.wait("it is activated", func() bool { _, err := s.fleet.Exec("cinnabar", "test", "-e", "/ill"); return err == nil })
			}
			link.Cut()
			time.AfterFunc(tt.cut, link.Mend)
			said := s.names(ended(t, cmd, lines))
			s.agrees(said)
			if tt.code >= 0 && said.code != tt.code {
				t.Errorf("exit code %d, want %d\n%s", said.code, tt.code, said.stderr)
			}
			t.Logf("it ended with %d, and the host has %s", said.code, s.state())
		})
	}
}

// agrees holds a report against its host.
func (s *switched) agrees(said ran) {
	s.Helper()
	state := s.state()
	switch {
	case said.code == exitOK && state == confirmedNew:
	case said.code == exitFailed && (state == backAtOld || state == "OLD OLD OLD") &&
		(strings.Contains(said.stderr, "rolled back by the host itself to OLD") || strings.Contains(said.stderr, "the host runs OLD, as before")):
	default:
		s.Errorf("exit code %d, and the host has %s\n%s", said.code, state, said.stderr)
	}
}

// TestSwitchAtRandom disturbs switches at random moments: after every one the host
// runs the old system or the confirmed new one, and infra's report says which.
func TestSwitchAtRandom(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	switches := 5
	if n, err := strconv.Atoi(os.Getenv("INFRA_SWITCHES")); err == nil {
		switches = n
	}
	ends := map[string]int{}
	for i := range switches {
		s.reset()
		s.fault("sleep 0.5", "")
		s.write("plans/t.star", fmt.Sprintf(switchPlan, s.new, "6s", ""))
		cmd, lines := s.start("run ", "plans/t.star")
		delay := time.Duration(rand.IntN(2500)) * time.Millisecond
		time.Sleep(delay) // the moment is what is random
		disturbances := []string{"infra is killed", "the sessions are killed", "the host is booted", "the activation is killed", "sshd is stopped for a while"}
		what := disturbances[rand.IntN(len(disturbances))]
		var err error
		switch what {
		case "infra is killed":
			err = cmd.Process.Kill()
		case "the sessions are killed":
			_, _ = s.fleet.Exec("cinnabar", "pkill", "-KILL", "sshd-session")
		case "the host is booted":
			err = s.fleet.Reboot(t.Context(), "cinnabar")
		case "the activation is killed":
			_, _ = s.fleet.Exec("cinnabar", "systemctl", "kill", "-s", "KILL", "nixos-rebuild-switch-to-configuration.service")
		case "sshd is stopped for a while":
			s.exec("cinnabar", "sh", "-c", "systemctl stop ssh.service; systemd-run --quiet --on-active=3 --timer-property=AccuracySec=100ms systemctl start ssh.service")
		}
		if err != nil && cmd.ProcessState == nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		said := s.names(ended(t, cmd, lines))
		s.wait("sshd answers", func() bool {
			_, err := s.fleet.Exec("cinnabar", "systemctl", "is-active", "ssh.service")
			return err == nil
		})
		for n := 0; said.code != exitOK && !isVerdict(said) && n < 5; n++ {
			said = s.names(s.infra("resume"))
			if said.code == exitUsage && strings.Contains(said.stderr, "ended well: there is nothing to go on with") {
				said.code = exitOK // it was killed when all was done
			}
		}
		before := t.Failed()
		s.agrees(said)
		ends[fmt.Sprintf("%s: %s", what, strings.Fields(s.state())[0])]++
		if t.Failed() && !before {
			t.Errorf("%d: %s after %s", i, what, delay)
		}
	}
	t.Logf("%d switches: %v", switches, ends)
}

// isVerdict says whether a report tells what the host runs.
func isVerdict(r ran) bool {
	return strings.Contains(r.stderr, "rolled back by the host itself to OLD") || strings.Contains(r.stderr, "the host runs OLD, as before")
}
