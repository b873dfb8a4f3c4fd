package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// staged is where the sshd's files lie on the host until the system runs: below
// /run, which an install leaves alone.
const staged = "run/infra-lab-sshd"

// erase is the end of what was on the host, as far as it is a person's: the
// stand-in for partitioning its disks.
const erase = `for dir in /root /home /srv /var/log; do
	[ ! -d "$dir" ] || find "$dir" -xdev -mindepth 1 -delete || exit 1
done
`

// restart is what the reboot after an install does for the sshd. Only a server
// of the cloud has an sshd that is the system's: that of other hosts is the lab's.
const restart = `if grep -qs "^Include /etc/ssh/sshd_config.d/nixos.conf" /etc/ssh/sshd_config && [ -d /` + staged + ` ]; then
	mkdir -p /etc/ssh/sshd_config.d
	cp -p /` + staged + `/ssh_host_* /` + staged + `/user_ca.pub /etc/ssh/
	cp /` + staged + `/nixos.conf /etc/ssh/sshd_config.d/
	if [ -d /run/systemd/system ]; then systemctl reload ssh; else kill -HUP "$(cat /run/sshd.pid)"; fi
fi
rm -rf /` + staged + `
`

// sshdConfig is the system's sshd: whoever has a certificate of the users'
// authority may log in, and it shows the one that the hosts' authority gave it.
const sshdConfig = `HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub
TrustedUserCAKeys /etc/ssh/user_ca.pub
AuthorizedKeysFile none
SetEnv PATH=/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
`

// upload puts the machine's secret vars where sops-nix has them, and its sshd's
// files aside.
func (s *store) upload(t target) error {
	files, err := s.secrets()
	if err != nil {
		return err
	}
	sshd, err := s.sshd()
	if err != nil {
		return err
	}
	maps.Copy(files, sshd)
	if len(files) == 0 {
		return nil
	}
	archive, err := pack(files)
	if err != nil {
		return err
	}
	cmd := t.on("tar -C / -xpf -")
	cmd.Stdin = bytes.NewReader(archive)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("upload the machine's secrets: %w", err)
	}
	return nil
}

// secrets are those vars that the machine is to have, by their paths on it.
func (s *store) secrets() (map[string][]byte, error) {
	files := map[string][]byte{}
	for gen, g := range s.Generators {
		for name, f := range g.Files {
			if !f.Secret || !f.Deploy || !s.there(gen, name) {
				continue
			}
			value, err := s.get(gen, name)
			if err != nil {
				return nil, err
			}
			files[path.Join("run/secrets/vars", gen, name)] = value
		}
	}
	return files, nil
}

// sshd are the files of the system's sshd, if the machine has an ssh key, a
// certificate for it, and a users' authority in its flake.
func (s *store) sshd() (map[string][]byte, error) {
	files := map[string][]byte{}
	for to, v := range map[string][2]string{
		"ssh_host_ed25519_key":          {"openssh", "ssh.id_ed25519"},
		"ssh_host_ed25519_key.pub":      {"openssh", "ssh.id_ed25519.pub"},
		"ssh_host_ed25519_key-cert.pub": {"openssh-cert", "ssh.id_ed25519-cert.pub"},
	} {
		if !s.there(v[0], v[1]) {
			return nil, nil
		}
		value, err := s.get(v[0], v[1])
		if err != nil {
			return nil, err
		}
		files[path.Join(staged, to)] = value
	}
	authority, err := os.ReadFile(filepath.Join(s.dir, "keys", "user_ca.pub"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	files[path.Join(staged, "user_ca.pub")] = authority
	files[path.Join(staged, "nixos.conf")] = []byte(sshdConfig)
	return files, err
}

// pack makes a tar of files that only root may read.
func pack(files map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for _, dir := range parents(name) {
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o751}); err != nil {
				return nil, err
			}
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o400, Size: int64(len(files[name]))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// parents are the folders above a file, but for /run itself.
func parents(name string) []string {
	var dirs []string
	for dir := path.Dir(name); dir != "run" && dir != "."; dir = path.Dir(dir) {
		dirs = append([]string{dir}, dirs...)
	}
	return dirs
}
