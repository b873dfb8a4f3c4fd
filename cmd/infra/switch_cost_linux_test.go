package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestSwitchCostsFewHandshakes counts on the host what connections a build, a copy and
// a switch are: infra's own, over which nix copies too, and the new one that the
// confirmation wants.
func TestSwitchCostsFewHandshakes(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	s.exec("cinnabar", "sh", "-c", "echo LogLevel VERBOSE >>/etc/ssh/sshd_config; systemctl restart ssh.service")
	for _, tt := range []struct {
		name   string
		system func() string
		at     int
		says   string
	}{
		{"to a system that is to be copied", func() string { return s.build(3) }, 2, "changed True"},
		{"to a system that is there", func() string { return s.new }, 2, "changed True"},
		{"to the one that runs", func() string { return s.new }, 1, "changed False"},
	} {
		system := tt.system()
		s.write("plans/t.star", fmt.Sprintf(switchPlan, system, "60s", ""))
		before := s.handshakes()
		s.plan("plans/t.star").want(t, exitOK, tt.says)
		shaken := s.handshakes() - before
		t.Logf("%s: %d handshakes", tt.name, shaken)
		if shaken != tt.at || shaken > 4 {
			t.Errorf("%s: %d handshakes, want %d and never more than 4", tt.name, shaken, tt.at)
		}
	}
}

// handshakes are the connections that sshd has noted, whatever became of them.
func (s *switched) handshakes() int {
	s.Helper()
	return strings.Count(s.exec("cinnabar", "sh", "-c", "journalctl --sync; journalctl -o cat -t sshd -t sshd-session; true"), "Connection from ")
}
