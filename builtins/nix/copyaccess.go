package nix

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	"infra/runtime"
	"infra/runtime/remote"
)

// An access is how a login gets store paths into a host's store.
type access struct {
	daemon    string // the path of nix-daemon there
	untrusted string // the login, where the host's nix takes only signed paths from it
	sudo      bool   // that login may run the daemon as root without a password
}

// accessScript prints name=value lines. Whoever may write the store's database
// has no need of the daemon that judges. It asks for sudo only where that would
// help: hosts report each login that may not use it.
const accessScript = `
daemon=$(command -v nix-daemon) || exit 127
echo "daemon=$daemon"
[ ! -w /nix/var/nix/db ] || exit 0
login=$(id -un) groups=" $(id -Gn) "
config() { nix --extra-experimental-features nix-command "$@" 2>/dev/null; }
set -f
for who in $( (config show-config || config config show) | sed -n 's/^trusted-users = //p'); do
  case $who in
    "$login" | "*") exit 0 ;;
    @*) case $groups in *" ${who#@} "*) exit 0 ;; esac ;;
  esac
done
echo "untrusted=$login"
if sudo -n "$daemon" --version >/dev/null 2>&1; then echo sudo=1; fi
`

// access asks the host how the login gets paths into its store.
func (cp copying) access(ctx context.Context, log io.Writer) (access, error) {
	out, err := cp.storeOf(cp.to, log).script(ctx, "looking for nix-daemon", remote.Command{}, accessScript)
	return accessOf(saidBy(out.Stdout)), err
}

func accessOf(said map[string]string) access {
	return access{said["daemon"], said["untrusted"], said["sudo"] != ""}
}

// lackingScript reads paths, prints those that the store does not hold as lines
// lacks=path, and then, where there are any, what accessScript does.
const lackingScript = `
lacks=$(xargs nix-store --check-validity --print-invalid) || exit
[ "$lacks" ] || exit 0
printf 'lacks=%s\n' $lacks
` + accessScript

// lacking asks the host which of the paths it does not hold, and where there are any,
// how the login gets them into its store.
func (cp copying) lacking(ctx context.Context, log io.Writer) ([]string, access, error) {
	cmd := remote.Command{Stdin: runtime.PlainText(strings.Join(cp.paths, "\n") + "\n")}
	out, err := cp.storeOf(cp.to, log).script(ctx, "looking for store paths", cmd, lackingScript)
	said := saidBy(out.Stdout)
	return strings.Fields(said["lacks"]), accessOf(said), err
}

// bySudo says whether paths go through a daemon that the login starts as root.
// Where signatures are to be checked nobody has to be trusted.
func (cp copying) bySudo(a access) bool { return a.untrusted != "" && a.sudo && !cp.checkSignatures }

// query is the query of the URL of the host's store. Every nix from 2.8 on splits the
// program at spaces, and none reads + as one.
func (cp copying) query(a access) string {
	program := a.daemon
	if cp.bySudo(a) {
		program = "sudo -n " + program
	}
	return strings.ReplaceAll(url.Values{"remote-program": {program}}.Encode(), "+", "%20")
}

// way says what is out of the ordinary about how the paths would get there.
func (cp copying) way(a access) string {
	var lines []string
	if cp.substitute {
		lines = append(lines, cp.to.Name+" fetches from its own substituters what they have: how much of it, only the copy shows")
	}
	switch {
	case cp.checkSignatures:
		lines = append(lines, cp.to.Name+" takes only what is signed by a key that it trusts")
	case cp.bySudo(a):
		lines = append(lines, fmt.Sprintf("by sudo: %s is no trusted user of the nix of %s", a.untrusted, cp.to.Name))
	case a.untrusted != "":
		lines = append(lines, fmt.Sprintf("%s is no trusted user of the nix of %s, and has no sudo: it takes only what is signed by a key that it trusts", a.untrusted, cp.to.Name))
	}
	return strings.Join(lines, "\n")
}

// refused explains the refusal that nix words as a matter of signatures.
func (cp copying) refused(err error, a access) error {
	said := err.Error()
	if !strings.Contains(said, "lacks a valid signature") && !strings.Contains(said, "lacks a signature by a trusted key") {
		return err
	}
	host := cp.to.Name
	sign := fmt.Sprintf("sign the paths here (nix store sign --recursive --key-file KEY PATH) and add the public key to nix.settings.trusted-public-keys of %s", host)
	switch {
	case cp.checkSignatures:
		return runtime.WithHint(fmt.Errorf("%s has no key for the paths that are to be copied, and check_signatures wants one: %w", host, err),
			"%s; or leave check_signatures out", sign)
	case a.untrusted == "":
		return runtime.WithHint(err, "%s takes unsigned paths from root and from trusted users: log in as root; or %s", host, sign)
	}
	err = fmt.Errorf("%s takes unsigned paths only from root and from its trusted users, and the login %s is neither: %w", host, a.untrusted, err)
	return runtime.WithHint(err, "do one of these: add %q to nix.settings.trusted-users of %s, which makes it as powerful as root; "+
		"let it use sudo without a password (NOPASSWD), or log in as root; or %s", a.untrusted, host, sign)
}

// flags are those of nix copy. Until 2.20 a daemon substitutes where an option says so
// that is meant for builders, and not where nix copy is told to.
func (cp copying) flags() []string {
	var flags []string
	if !cp.checkSignatures {
		flags = append(flags, "--no-check-sigs") // nix heeds that only where the login is trusted
	}
	if cp.substitute {
		flags = append(flags, "--substitute-on-destination", "--option", "builders-use-substitutes", "true")
	}
	return flags
}
