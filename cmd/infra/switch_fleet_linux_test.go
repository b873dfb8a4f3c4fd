package main

import (
	"fmt"
	"strings"
	"testing"

	"infra/examples/lab/fleet"
)

// fleetPlan switches three hosts, one of them first.
const fleetPlan = `
fleet = [host(n, system = "x86_64-linux", ssh = "root@" + n) for n in ["cinnabar", "blackphos", "rosegold"]]
def switch(host): return nix.switch(host, %q, confirm_within = "60s").generation
def told(switched): log("generations %%s" %% sorted(switched.items()))
p = plan(hosts = fleet, steps = [step(switch, each = fleet, canary = 1, parallel = 2), step(told, needs = [switch])])
`

// TestSwitchOfAFleet: the first of several hosts is switched alone. Where it goes back,
// the others are left as they are; where it is well, they follow, so many at once as
// the plan says.
func TestSwitchOfAFleet(t *testing.T) {
	t.Parallel()
	hosts := []string{"cinnabar", "blackphos", "rosegold"}
	s := &switched{trial: onFleet(t, fleet.Options{Hosts: hosts, Systemd: hosts})}
	s.old, s.new = s.build(1), s.build(2)
	s.write("plans/t.star", fmt.Sprintf(fleetPlan, s.old))
	s.plan("plans/t.star").want(t, exitOK, `generations [("blackphos", 1), ("cinnabar", 1), ("rosegold", 1)]`)
	run := func(host string) string {
		t.Helper()
		said := s.exec(host, "sh", "-c", `echo $(readlink -f /run/current-system /nix/var/nix/profiles/system; wc -l </var/log/activations; ls -d /run/infra/watchdog 2>/dev/null)`)
		return strings.NewReplacer(s.old, "OLD", s.new, "NEW").Replace(said)
	}
	before := run("rosegold")

	s.write("plans/t.star", fmt.Sprintf(fleetPlan, s.new))
	s.fault("exit 2", "")
	said := s.names(s.plan("plans/t.star"))
	said.want(t, exitFailed, "switch blackphos | skipped: not started, because switch did not succeed on cinnabar, the canary",
		"  switch on cinnabar: nix.switch.activate on cinnabar: an activation script: switch-to-configuration failed with exit code 2 and said nothing; rolled back by the host itself to OLD",
		"skipped:\n  switch on blackphos, rosegold: switch on cinnabar failed\n", "next:\n  infra resume ")
	if got := s.state(); got != backAtOld {
		t.Errorf("cinnabar has %s", got)
	}
	for _, host := range hosts[1:] {
		if got := run(host); got != before {
			t.Errorf("%s has %s, want %s as before", host, got, before)
		}
	}

	// Both of the others wait until both are activated: one after the other would not do.
	s.exec("cinnabar", "rm", "/etc/lab-fault")
	for _, host := range hosts[1:] {
		s.exec(host, "sh", "-c", `echo 'case $action,$system in test,`+s.new+`) touch /activating; while [ -e /activating ]; do sleep 0.1; done ;; esac' >/etc/lab-fault`)
	}
	ended := make(chan ran, 1)
	go func() { ended <- s.names(s.infra("resume")) }()
	s.wait("the others are activated side by side", func() bool {
		for _, host := range hosts[1:] {
			if _, err := s.fleet.Exec(host, "test", "-e", "/activating"); err != nil {
				return false
			}
		}
		return true
	})
	if got := s.state(); got != confirmedNew {
		t.Errorf("the others are switched, and the first has %s", got)
	}
	for _, host := range hosts[1:] {
		s.exec(host, "rm", "/activating")
	}
	said = <-ended
	said.want(t, exitOK, `generations [("blackphos", 2), ("cinnabar", 2), ("rosegold", 2)]`)
}
