package nix

import (
	"strings"
	"testing"
)

// printedDry is what switch-to-configuration of NixOS prints for a dry activation.
const printedDry = `would stop the following units: nscd.service, old.timer
would NOT stop the following changed units: getty@tty1.service
would activate the configuration...
would reload the following units: dbus.service
would restart systemd
would restart the following units: sshd.service,  zerotierone.service
would start the following units: new.service
would remove the following mounts
`

func TestUnitChanges(t *testing.T) {
	want := "stop: nscd.service, old.timer\nNOT stop changed: getty@tty1.service\nreload: dbus.service\nrestart systemd\n" +
		"restart: sshd.service, zerotierone.service\nstart: new.service"
	if got := unitChanges(printedDry + "ended=0\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := unitChanges("init interface changed\nended=100\n"); got != "needs a reboot: it is made the system of the next boot" {
		t.Errorf("got %q", got)
	}
	if got := strings.Join(failedUnits("stopping the following units: x.service\nwarning: the following units failed: b.service, a.service\r\n"+
		"warning: the following user units failed: c.service\n"), " "); got != "a.service b.service c.service" {
		t.Errorf("failed: %s", got)
	}
}

// FuzzUnits: whatever a program of a system prints, only units that it names are
// listed, and each on one line.
func FuzzUnits(f *testing.F) {
	f.Add(printedDry)
	f.Add("warning: the following units failed: a.service, b.service\n")
	f.Fuzz(func(t *testing.T, printed string) {
		for _, unit := range failedUnits(printed) {
			if unit == "" || strings.Contains(unit, "\n") || !strings.Contains(printed, unit) {
				t.Errorf("%q failed", unit)
			}
		}
		if text := unitChanges(printed); strings.Count(text, "\n") > strings.Count(printed, "\n") {
			t.Errorf("%q became %q", printed, text)
		}
		saidBy(printed)
		parseState(printed)
	})
}
