package fleet

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"filippo.io/age"
	"github.com/getsops/sops/v3/cmd/sops/formats"
)

//go:embed clan.nix
var clanNix string

// clanFiles are the files of the clan in the user's repository, by path, and
// its links by path. The user, admin, can decrypt everything. Of all machines
// cinnabar alone has its vars; those of the others are still to be generated. So
// are most of cinnabar's where only the cloud makes it: it is still to be
// installed. All machines share the authority that signs hosts' keys.
func (f *Fleet) clanFiles(admin, token string) (files, links map[string]string, err error) {
	machine, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, nil, err
	}
	hostCA, userCA, err := f.authorities()
	if err != nil {
		return nil, nil, err
	}
	const zerotier, ca = "vars/per-machine/cinnabar/zerotier/", "vars/shared/openssh-ca/"
	files = map[string]string{
		"clan.nix":                        clanNix,
		"net.nix":                         fmt.Sprintf("# The first three numbers of all addresses.\n%q\n", f.net),
		"keys/user_ca.pub":                userCA,
		ca + "id_ed25519.pub/value":       hostCA.public,
		"sops/users/admin/key.json":       keyJSON(admin),
		"sops/machines/cinnabar/key.json": keyJSON(machine.Recipient().String()),
		zerotier + ".validation-hash":     "zerotier-1",
		zerotier + "network-id/value":     "8056c2e21c000001",
	}
	links = map[string]string{
		"sops/groups/admins/users/admin":            "sops/users/admin",
		zerotier + "identity/groups/admins":         "sops/groups/admins",
		zerotier + "identity/users/admin":           "sops/users/admin",
		zerotier + "identity/machines/cinnabar":     "sops/machines/cinnabar",
		ca + "id_ed25519/groups/admins":             "sops/groups/admins",
		ca + "id_ed25519/users/admin":               "sops/users/admin",
		"sops/secrets/cinnabar-age.key/users/admin": "sops/users/admin",
		"sops/secrets/hcloud-token/users/admin":     "sops/users/admin",
	}
	secrets := map[string]sealed{
		zerotier + "identity/secret":           {random(32), []string{admin, machine.Recipient().String()}},
		ca + "id_ed25519/secret":               {hostCA.private, []string{admin}},
		"sops/secrets/cinnabar-age.key/secret": {machine.String(), []string{admin}},
		"sops/secrets/hcloud-token/secret":     {token, []string{admin}},
	}
	if !slices.Contains(f.cloud, "cinnabar") {
		if err := f.installedVars(files, links, secrets, admin, machine.Recipient().String()); err != nil {
			return nil, nil, err
		}
	}
	for path, secret := range secrets {
		if files[path], err = encrypt(formats.Binary, secret.value, secret.readers...); err != nil {
			return nil, nil, fmt.Errorf("encrypt %s: %w", path, err)
		}
	}
	return files, links, nil
}

// A sealed value is one that only its readers can decrypt.
type sealed struct {
	value   string
	readers []string
}

// installedVars adds what a cinnabar that runs already has beside zerotier's
// vars: those of its ssh key, which is the one that the host has, and of the
// password for emergencies.
func (f *Fleet) installedVars(files, links map[string]string, secrets map[string]sealed, admin, machine string) error {
	const vars = "vars/per-machine/cinnabar/"
	key := map[string]string{}
	for _, suffix := range []string{"", ".pub", "-cert.pub"} {
		text, err := os.ReadFile(f.path("hosts", "cinnabar", "etc", "ssh", "ssh_host_ed25519_key"+suffix))
		if err != nil {
			return err
		}
		key[suffix] = string(text)
	}
	files[vars+"openssh/ssh.id_ed25519.pub/value"] = key[".pub"]
	files[vars+"openssh-cert/ssh.id_ed25519-cert.pub/value"] = key["-cert.pub"]
	files[vars+"emergency-access/password-hash/value"] = "$6$" + random(8) + "$" + random(43)
	secrets[vars+"openssh/ssh.id_ed25519/secret"] = sealed{key[""], []string{admin, machine}}
	secrets[vars+"emergency-access/password/secret"] = sealed{random(12), []string{admin}}
	for _, secret := range []string{"openssh/ssh.id_ed25519", "emergency-access/password"} {
		links[vars+secret+"/groups/admins"] = "sops/groups/admins"
		links[vars+secret+"/users/admin"] = "sops/users/admin"
	}
	links[vars+"openssh/ssh.id_ed25519/machines/cinnabar"] = "sops/machines/cinnabar"
	return nil
}

// authorities are the one that signs hosts' keys, and the public half of the one
// that signs users'.
func (f *Fleet) authorities() (host struct{ private, public string }, user string, err error) {
	for name, to := range map[string]*string{"host_ca": &host.private, "host_ca.pub": &host.public, "user_ca.pub": &user} {
		text, readErr := os.ReadFile(f.path("ssh", name))
		*to, err = string(text), errors.Join(err, readErr)
	}
	return host, user, err
}

func keyJSON(recipient string) string {
	data, _ := json.MarshalIndent([]map[string]string{{"publickey": recipient, "type": "age"}}, "", "  ") // strings
	return string(data) + "\n"
}

// link makes a link in the project, relative as clan writes it.
func (f *Fleet) link(path, to string) error {
	at := filepath.Join(f.Project(), path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	target, err := filepath.Rel(filepath.Dir(at), filepath.Join(f.Project(), to))
	if err != nil {
		return err
	}
	return os.Symlink(target, at)
}
