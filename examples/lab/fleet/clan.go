package fleet

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"filippo.io/age"
	"github.com/getsops/sops/v3/cmd/sops/formats"
)

//go:embed clan.nix
var clanNix string

// clanFiles are the files of the clan in the user's repository, by path, and
// its links by path. The user, admin, can decrypt everything. Of all machines
// cinnabar alone has its vars; those of the others are still to be generated.
func clanFiles(admin string) (files, links map[string]string, err error) {
	machine, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, nil, err
	}
	const zerotier = "vars/per-machine/cinnabar/zerotier/"
	files = map[string]string{
		"clan.nix":                        clanNix,
		"sops/users/admin/key.json":       keyJSON(admin),
		"sops/machines/cinnabar/key.json": keyJSON(machine.Recipient().String()),
		zerotier + ".validation-hash":     "zerotier-1",
		zerotier + "network-id/value":     "8056c2e21c000001",
	}
	for path, secret := range map[string]struct {
		value   string
		readers []string
	}{
		zerotier + "identity/secret":           {random(32), []string{admin, machine.Recipient().String()}},
		"sops/secrets/cinnabar-age.key/secret": {machine.String(), []string{admin}},
		"sops/secrets/hcloud-token/secret":     {random(32), []string{admin}},
	} {
		if files[path], err = encrypt(formats.Binary, secret.value, secret.readers...); err != nil {
			return nil, nil, fmt.Errorf("encrypt %s: %w", path, err)
		}
	}
	return files, map[string]string{
		"sops/groups/admins/users/admin":            "sops/users/admin",
		zerotier + "identity/groups/admins":         "sops/groups/admins",
		zerotier + "identity/users/admin":           "sops/users/admin",
		zerotier + "identity/machines/cinnabar":     "sops/machines/cinnabar",
		"sops/secrets/cinnabar-age.key/users/admin": "sops/users/admin",
		"sops/secrets/hcloud-token/users/admin":     "sops/users/admin",
	}, nil
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
