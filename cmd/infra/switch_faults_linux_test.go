package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// activatesUntil makes an activation of the new system wait for as long as there is a
// file on the host, which it makes.
const activatesUntil = "ln -sfn $system /run/current-system; touch /activating; while [ -e /activating ]; do sleep 0.05; done"

// checksUntil writes a plan whose check of the new system waits likewise, and then
// runs a command.
func (s *switched) checksUntil(then string) {
	s.Helper()
	check := fmt.Sprintf(`lambda host: ssh.run(host, "touch /checking; while [ -e /checking ]; do sleep 0.05; done; %s", reads = True).code == 0`, then)
	s.write("plans/t.star", strings.Replace(fmt.Sprintf(switchPlan, s.new, "60s", ""), "[well]", "["+check+"]", 1))
}

// there says whether a file is on the host.
func (s *switched) there(path string) func() bool {
	return func() bool { _, err := s.fleet.Exec("cinnabar", "test", "-e", path); return err == nil }
}

// TestSwitchByTwo: of two who switch a host at the same moment one does, and the other
// is told who.
func TestSwitchByTwo(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)

	t.Run("both by infra, each from a clone of the project", func(t *testing.T) {
		s := &switched{s.with(t), s.old, s.new}
		s.fault(activatesUntil, "")
		s.write("plans/t.star", fmt.Sprintf(switchPlan, s.new, "60s", ""))
		clone := filepath.Join(t.TempDir(), "clone")
		if out, err := exec.Command("cp", "-R", s.fleet.Project(), clone).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if err := os.RemoveAll(filepath.Join(clone, ".infra")); err != nil {
			t.Fatal(err)
		}
		ends := make(chan ran, 2)
		for _, folder := range []string{s.fleet.Project(), clone} {
			cmd := s.program("plans/t.star")
			cmd.Dir = folder
			go func() { ends <- s.names(outcomeOf(cmd)) }()
		}
		refused := <-ends
		refused.want(t, exitLocked, "cinnabar is locked by ", " (run 2", " of ", "plans/t.star)", "wait with --wait 5m")
		s.wait("the other is activated", s.there("/activating"))
		s.exec("cinnabar", "rm", "/activating")
		said := <-ends
		said.want(t, exitOK, "changed True, previous OLD, current NEW")
		if got := s.state(); got != confirmedNew {
			t.Errorf("the host has %s", got)
		}
	})

	// byHand switches to the old system as a person on the host would, until it may end.
	byHand := func(s *switched, do func()) {
		s.exec("cinnabar", "sh", "-c", `printf '%s\n' 'case $action in switch) touch /by-hand; while [ -e /by-hand ]; do sleep 0.05; done ;; esac' >>/etc/lab-fault`)
		done := make(chan error, 1)
		go func() {
			_, err := s.fleet.Exec("cinnabar", s.old+"/bin/switch-to-configuration", "switch")
			done <- err
		}()
		s.wait("the switch by hand has begun", s.there("/by-hand"))
		do()
		s.exec("cinnabar", "rm", "-f", "/by-hand")
		if err := <-done; err != nil {
			t.Errorf("the switch by hand: %v", err)
		}
	}

	t.Run("one by hand", func(t *testing.T) {
		s := &switched{s.with(t), s.old, s.new}
		s.reset()
		s.fault("", "")
		byHand(s, func() {
			said := s.names(s.switches("60s", ""))
			said.want(t, exitFailed, "somebody else switches cinnabar at this moment, without infra, so nothing was activated", "Could not acquire lock", "infra resume goes on")
			if got := s.state(); got != "OLD OLD OLD" {
				t.Errorf("the host has %s", got)
			}
		})
		s.exec("cinnabar", "rm", "/etc/lab-fault")
		s.names(s.infra("resume")).want(t, exitOK, "changed True, previous OLD, current NEW")
		if got := s.state(); got != confirmedNew {
			t.Errorf("the host has %s", got)
		}
	})

	t.Run("one by hand, while the host goes back", func(t *testing.T) {
		s := &switched{s.with(t), s.old, s.new}
		s.reset()
		s.fault(activatesUntil+"; touch /ill", "rm -f /ill")
		ended := make(chan ran, 1)
		s.checksUntil("false")
		go func() { ended <- s.names(s.plan("plans/t.star")) }()
		s.wait("it is activated", s.there("/activating"))
		s.exec("cinnabar", "rm", "/activating")
		s.wait("it is checked", s.there("/checking"))
		byHand(s, func() {
			s.exec("cinnabar", "rm", "/checking")
			s.wait("the host has tried to go back, and again", func() bool {
				log, _ := s.fleet.Exec("cinnabar", "cat", "/run/infra/watchdog/log")
				return strings.Count(log, "Could not acquire lock") > 5
			})
		})
		said := <-ended
		said.want(t, exitFailed, "rolled back by the host itself to OLD")
		if got := s.state(); got != backAtOld {
			t.Errorf("the host has %s", got)
		}
	})
}

// outcomeOf is what a command leaves, "-1" for one that did not run.
func outcomeOf(cmd *exec.Cmd) ran {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return ran{-1, "", err.Error()}
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// slowProfile makes whoever sets the profile wait.
const slowProfile = `cat >/usr/local/bin/nix-env <<'END'
#!/bin/sh
case "$*" in *--set*) touch /setting; sleep 1000 ;; esac
exec /usr/bin/nix-env "$@"
END
chmod +x /usr/local/bin/nix-env`

// TestSwitchAndABoot boots the host at every point at which that matters. It starts the
// old system until the profile leads to the new one.
func TestSwitchAndABoot(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	for _, tt := range []struct {
		name, broken, before, then string                      // then is what the check runs
		when                       func(*switched) func() bool // it is booted
		says                       string
	}{
		{"while it is activated", activatesUntil, "", "", func(s *switched) func() bool { return s.there("/activating") }, "the host runs OLD, as before"},
		{"before the confirmation", "", "", "true", func(s *switched) func() bool { return s.there("/checking") }, "the host runs OLD, as before"},
		{"between the confirmation and the profile", "", slowProfile, "", func(s *switched) func() bool { return s.there("/setting") }, "cinnabar was booted, or switched, before the profile led to NEW; the host runs OLD, as before"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &switched{s.with(t), s.old, s.new}
			s.exec("cinnabar", "rm", "-f", "/activating", "/checking", "/usr/local/bin/nix-env")
			s.reset()
			s.fault(tt.broken, "")
			s.exec("cinnabar", "sh", "-c", or(tt.before, ":"))
			s.write("plans/t.star", fmt.Sprintf(switchPlan, s.new, "60s", ""))
			if tt.then != "" {
				s.checksUntil(tt.then)
			}
			ended := make(chan ran, 1)
			go func() { ended <- s.names(s.plan("plans/t.star")) }()
			s.wait("it is there", tt.when(s))
			if err := s.fleet.Reboot(t.Context(), "cinnabar"); err != nil {
				t.Fatal(err)
			}
			said := <-ended
			if !isVerdict(said) {
				t.Logf("first:\n%s", said.stderr)
				said = s.names(s.infra("resume"))
			}
			said.want(t, exitFailed, tt.says)
			if got := s.state(); got != "OLD OLD OLD" {
				t.Errorf("the host has %s", got)
			}
		})
	}
}
