package nix_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"infra/builtins/nix"
	"infra/builtins/ssh"
	"infra/runtime"
	"infra/runtime/remote"
)

// logins gives the host logins that are not root: "deploy" may do nothing, "trusted"
// and the group "admins" are trusted users of the host's nix, "sudoer" may use sudo.
// They cannot write the store: a daemon does, as on every host of more than one user.
const logins = `
set -e
dir=$1 key=$2
chmod 755 ${dir%/*} $dir && chmod 644 $dir/nix.conf
mkdir $dir/etc $dir/sudoers.d
cp /etc/passwd /etc/shadow /etc/group $dir/etc/
echo "admins:x:60100:" >>$dir/etc/group
id=60001
for login in deploy trusted sudoer member; do
  group=65534; [ $login != member ] || group=60100
  echo "$login:x:$id:$group::/:/bin/sh" >>$dir/etc/passwd
  echo "$login:*:19000:0:99999:7:::" >>$dir/etc/shadow
  id=$((id + 1))
done
for file in passwd shadow group; do mount --bind $dir/etc/$file /etc/$file; done
mount --bind $dir/sudoers.d /etc/sudoers.d
echo "sudoer ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/sudoer
chmod 440 /etc/sudoers.d/sudoer
echo "trusted-users = root trusted @admins
trusted-public-keys = $key
substituters = file://$dir/cache
trusted-substituters = file://$dir/cache" >>$dir/nix.conf
setsid nix-daemon </dev/null >/dev/null 2>&1 &
until [ -S /nix/var/nix/daemon-socket/socket ]; do sleep 0.05; done
`

// newLogins is a host with the logins, each a host of the plan by its own name.
func newLogins(t *testing.T) (tg *target, sign, cache string) {
	t.Helper()
	tg = newTarget(t, "x86_64-linux")
	dir := tg.server.Dir
	sign = filepath.Join(dir, "key")
	command(t, "nix-store", "--generate-binary-cache-key", "test-1", sign, sign+".pub")
	public, err := os.ReadFile(sign + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "ssh", "-F", tg.server.Config, tg.server.Alias,
		"sh -s "+dir+" '"+string(public)+"' <<'END'\n"+logins+"END").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	config, err := os.ReadFile(tg.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "ssh_config_logins")
	text := ""
	for _, login := range []string{"deploy", "trusted", "sudoer", "member"} {
		text += fmt.Sprintf("Match originalhost %s\n  User %s\n", login, login)
	}
	text += strings.Replace(string(config), "Host "+tg.server.Alias, "Host *", 1)
	if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	root := projectOf(t, systems)
	pool := remote.NewPool(remote.Config{SSHConfig: own})
	t.Cleanup(func() { pool.Close() })
	tg.specs = append(nix.Specs(pool, "", root, own), ssh.Specs(pool, root)...)
	return tg, sign, filepath.Join(dir, "cache")
}

func command(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

// TestCopyByLogin: whoever the host trusts copies, by sudo where that is needed; whom
// it does not, only what is signed, and is told what to do about the rest.
func TestCopyByLogin(t *testing.T) {
	tg, key, cache := newLogins(t)
	const signedOnly = "takes only what is signed by a key that it trusts"
	paths := newPaths(t, 11)
	for i, tt := range []struct {
		login  string
		signed bool
		more   string
		way    string   // in the preview, and in the log
		err    []string // none: it is copied
		hint   []string
	}{
		{login: "root"},
		{login: "trusted"},
		{login: "member"},
		{login: "sudoer", way: "by sudo: sudoer is no trusted user of the nix of sudoer"},
		{login: "deploy", way: "deploy is no trusted user of the nix of deploy, and has no sudo: it " + signedOnly,
			err:  []string{"deploy takes unsigned paths only from root and from its trusted users, and the login deploy is neither", "signature"},
			hint: []string{`add "deploy" to nix.settings.trusted-users of deploy`, "NOPASSWD", "log in as root", "nix store sign", "nix.settings.trusted-public-keys of deploy"}},
		{login: "deploy", signed: true, way: "it " + signedOnly},
		{login: "trusted", more: ", check_signatures = True", way: "trusted " + signedOnly,
			err: []string{"trusted has no key for the paths"}, hint: []string{"nix store sign", "leave check_signatures out"}},
		{login: "trusted", signed: true, more: ", check_signatures = True", way: "trusted " + signedOnly},
		{login: "sudoer", signed: true, more: ", check_signatures = True", way: "sudoer " + signedOnly},
	} {
		t.Run(fmt.Sprintf("%s signed %v%s", tt.login, tt.signed, tt.more), func(t *testing.T) {
			path := paths[i]
			if tt.signed {
				command(t, "nix", "--extra-experimental-features", "nix-command", "store", "sign", "--key-file", key, path)
			}
			tg.host = &runtime.Host{Name: tt.login, System: "x86_64-linux"}
			code := `nix.copy("` + path + `", to = h` + tt.more + `)`
			dry := tg.door(true)
			dry.Must(t, tg.specs, code)
			if _, way, _ := strings.Cut(dry.Predictions[0].Detail, "KiB\n"); !strings.Contains(way, tt.way) || (tt.way == "") != (way == "") {
				t.Errorf("foreseen %q, want %q", dry.Predictions[0].Detail, tt.way)
			}
			run := tg.door(false)
			_, err := run.Run(t, tg.specs, code)
			if !strings.Contains(run.Log.String(), tt.way) {
				t.Errorf("the log says %q, not %q", run.Log.String(), tt.way)
			}
			if tt.err == nil {
				if err != nil {
					t.Fatalf("%v\nhint: %s", err, runtime.HintOf(err))
				}
				tg.server.Shell(t, "nix-store --check-validity "+path)
				return
			}
			if err == nil {
				t.Fatal("it was copied")
			}
			for _, want := range tt.err {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v\nwant %s", err, want)
				}
			}
			for _, want := range tt.hint {
				if !strings.Contains(runtime.HintOf(err), want) {
					t.Errorf("hint %s\nwant %s", runtime.HintOf(err), want)
				}
			}
		})
	}
	t.Run("substitute_on_destination", func(t *testing.T) { tg.substitutes(t, paths[9], paths[10], key, cache) })
}

// substitutes: what the host's own substituter has is not sent, and the rest is.
func (tg *target) substitutes(t *testing.T, cached, rest, key, cache string) {
	t.Helper()
	command(t, "nix", "--extra-experimental-features", "nix-command", "copy", "--to", "file://"+cache+"?secret-key="+key, cached)
	tg.host = &runtime.Host{Name: "trusted", System: "x86_64-linux"}
	code := `nix.copy(["` + cached + `", "` + rest + `"], to = h, substitute_on_destination = True)`
	dry := tg.door(true)
	dry.Must(t, tg.specs, code)
	if d := dry.Predictions[0].Detail; !strings.Contains(d, "trusted fetches from its own substituters what they have: how much of it, only the copy shows") {
		t.Errorf("predicted %q", d)
	}
	tg.door(false).Must(t, tg.specs, code)
	tg.server.Shell(t, "nix-store --check-validity "+cached+" "+rest)
	// A path that was sent has no signature: only what a substituter gave keeps one.
	for path, signed := range map[string]bool{cached: true, rest: false} {
		said := tg.server.Shell(t, "nix --extra-experimental-features nix-command path-info --sigs "+path)
		if strings.Contains(said, "test-1:") != signed {
			t.Errorf("of %s the host says %s", path, said)
		}
	}
}

// newPaths builds paths that no host has yet. Each needs a signature, unlike a path that
// is named for its content.
func newPaths(t *testing.T, n int) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "nix-build", "--no-out-link", "-E", fmt.Sprintf(`map (n: derivation {
  name = "copied-${toString n}"; salt = "%d"; system = "x86_64-linux"; PATH = "/usr/bin:/bin";
  builder = "/bin/sh"; args = [ "-c" "seq 1000 >$out" ];
}) (builtins.genList (n: n) %d)`, time.Now().UnixNano(), n)).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}
