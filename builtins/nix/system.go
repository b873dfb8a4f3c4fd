package nix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"infra/runtime"
	"infra/runtime/remote"
)

// Where a host's system profile is. NixOS and nix-darwin agree.
const (
	profileDir    = "/nix/var/nix/profiles"
	systemProfile = profileDir + "/system"
)

// The programs with which a system is made the running one, in its own path.
const (
	switchProgram   = "bin/switch-to-configuration" // NixOS
	activateProgram = "activate"                    // nix-darwin
)

// programOf returns the program that a system for this kind of host has.
func programOf(kind string) string {
	if kind == runtime.Darwin {
		return activateProgram
	}
	return switchProgram
}

// A systemState is what a host runs and what its profile leads to.
type systemState struct {
	current    string   // the store path behind /run/current-system; "" if there is none
	profile    string   // the store path behind the profile
	generation int      // of the profile; 0 if it has none
	programs   []string // which of the programs the asked path has on the host
	held       bool     // the asked path is on the host
}

// stateScript prints name=value lines. cd -P resolves links where there is no
// readlink -f, and fails on a dangling one where readlink -f does not.
const stateScript = `
resolve() { (cd -P "$1" 2>/dev/null && pwd -P); }
echo "current=$(resolve /run/current-system)"
echo "profile=$(resolve "$2")"
echo "link=$(readlink "$2")"
[ -e "$1" ] && echo held=1
for program in ` + switchProgram + ` ` + activateProgram + `; do
  [ -x "$1/$program" ] && echo "program=$program"
done
echo whole=1
exit 0
`

// cutOff is an error unless stateScript has come to its end: a host that is shut down
// ends what runs there, which then has said nothing of a system that is there.
func cutOff(stdout string) error {
	if saidBy(stdout)["whole"] == "" {
		return errors.New("the answer was cut off")
	}
	return nil
}

// systemState asks a host for its state, and about one system path.
func (s store) systemState(ctx context.Context, path string) (systemState, error) {
	out, err := s.script(ctx, "reading the running system", remote.Command{}, stateScript, path, systemProfile)
	if err == nil {
		err = cutOff(out.Stdout)
	}
	return parseState(out.Stdout), err
}

// parseState reads what stateScript prints.
func parseState(stdout string) systemState {
	var s systemState
	for line := range strings.Lines(stdout) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		switch name {
		case "current":
			s.current = value
		case "profile":
			s.profile = value
		case "link":
			s.generation, _ = generationOf(value)
		case "program":
			s.programs = append(s.programs, value)
		case "held":
			s.held = true
		}
	}
	return s
}

// runs says whether the host runs path, now and after a reboot.
func (s systemState) runs(path string) bool { return s.current == path && s.profile == path }

// String is the state as an error tells it.
func (s systemState) String() string {
	current, profile := s.current, s.profile
	if current == "" {
		current = "no system of nix"
	}
	if profile == "" {
		profile = "nowhere"
	}
	if s.generation > 0 {
		profile += fmt.Sprintf(" (generation %d)", s.generation)
	}
	return fmt.Sprintf("it runs %s now, and its profile leads to %s", current, profile)
}

// notASystem refuses a path that a host of this kind cannot switch to.
func notASystem(path string, host *runtime.Host, programs []string) error {
	program := programOf(host.Kind())
	if slices.Contains(programs, program) {
		return nil
	}
	system, attribute := "a NixOS system", "nixosConfigurations."+host.Name+".config.system.build.toplevel"
	if host.Kind() == runtime.Darwin {
		system, attribute = "a nix-darwin system", "darwinConfigurations."+host.Name+".system"
	}
	return runtime.WithHint(fmt.Errorf("%s is not %s: it has no %s", path, system, program), "build .#%s", attribute)
}

// goBack is the command by which a person returns a host to a system.
func goBack(host *runtime.Host, system string) string {
	set := fmt.Sprintf("sudo nix-env -p %s --set %s", systemProfile, system)
	activate := fmt.Sprintf("sudo %s/%s switch", system, switchProgram)
	if host.Kind() == runtime.Darwin {
		activate = fmt.Sprintf("sudo %s/%s", system, activateProgram)
		set, activate = activate, set
	}
	address := host.SSH
	if address == "" {
		address = host.Name
	}
	return fmt.Sprintf("ssh %s '%s && %s'", address, set, activate)
}
