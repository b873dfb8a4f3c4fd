package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/config"
	sopsdecrypt "github.com/getsops/sops/v3/decrypt"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/version"
)

// A key is an entry of a key.json.
type key struct {
	PublicKey string `json:"publickey"`
	Type      string `json:"type"`
}

// seal encrypts a value into dir, for the machine where it is deployed, the
// default groups, and the person who does it. It returns what to commit.
func (s *store) seal(dir string, value []byte, deploy bool) ([]string, error) {
	files, err := s.ensureMachineKey()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if deploy {
		if err := s.allow(dir, "machines", s.name); err != nil {
			return nil, err
		}
	}
	return append(files, dir), s.encrypt(dir, value, s.DefaultGroups)
}

// encrypt writes dir/secret for whoever is linked in dir.
func (cl *clan) encrypt(dir string, value []byte, groups []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, g := range groups {
		if err := cl.allow(dir, "groups", g); err != nil {
			return err
		}
	}
	user, err := cl.admin()
	if err == nil {
		err = cl.allow(dir, "users", user)
	}
	if err != nil {
		return err
	}
	recipients, err := cl.recipients(dir)
	if err != nil {
		return err
	}
	text, err := encryptFor(value, recipients)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "secret"), text, 0o644)
}

// allow links one who may decrypt into dir, by a relative link.
func (cl *clan) allow(dir, kind, name string) error {
	folder := filepath.Join(dir, kind)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	to, err := filepath.Rel(folder, filepath.Join(cl.dir, "sops", kind, name))
	if err != nil {
		return err
	}
	link := filepath.Join(folder, name)
	if old, err := os.Readlink(link); err == nil && old == to {
		return nil
	}
	_ = os.Remove(link)
	return os.Symlink(to, link)
}

// recipients are the keys of all that dir links to.
func (cl *clan) recipients(dir string) ([]string, error) {
	patterns := []string{"users/*/key.json", "machines/*/key.json", "groups/*/users/*/key.json", "groups/*/machines/*/key.json"}
	var all []string
	for _, p := range patterns {
		paths, err := filepath.Glob(filepath.Join(dir, p))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			keys, err := readKeys(path)
			if err != nil {
				return nil, err
			}
			for _, k := range keys {
				all = append(all, k.PublicKey)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func readKeys(path string) ([]key, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var keys []key
	if json.Unmarshal(data, &keys) == nil {
		return keys, nil
	}
	var one key // of an old clan
	return append(keys, one), json.Unmarshal(data, &one)
}

// ensureMachineKey makes the machine's key, kept as a secret of the clan.
func (s *store) ensureMachineKey() ([]string, error) {
	path := filepath.Join(s.dir, "sops", "machines", s.name, "key.json")
	if _, err := os.Stat(path); err == nil {
		return nil, nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	secret := filepath.Join(s.dir, "sops", "secrets", s.name+"-age.key")
	if err := s.encrypt(secret, []byte(id.String()), s.DefaultGroups); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent([]key{{id.Recipient().String(), "age"}}, "", "  ")
	if err != nil {
		return nil, err
	}
	return []string{secret, path}, place(path, data)
}

// admin is the user whose key is here.
func (cl *clan) admin() (string, error) {
	mine, err := identities()
	if err != nil {
		return "", err
	}
	paths, _ := filepath.Glob(filepath.Join(cl.dir, "sops", "users", "*", "key.json"))
	for _, path := range paths {
		keys, err := readKeys(path)
		if err != nil {
			return "", err
		}
		for _, k := range keys {
			if slices.ContainsFunc(mine, func(id *age.X25519Identity) bool { return id.Recipient().String() == k.PublicKey }) {
				return filepath.Base(filepath.Dir(path)), nil
			}
		}
	}
	return "", says("Cannot find admin keys for current $USER on this computer. Please initialize admin keys once with 'clan vars keygen'")
}

// identities are the person's keys, from where clan takes them.
func identities() ([]*age.X25519Identity, error) {
	text := os.Getenv("SOPS_AGE_KEY")
	if path := keyFile(); text == "" && path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the age key: %w", err)
		}
		text = string(data)
	}
	var ids []*age.X25519Identity
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "AGE-SECRET-KEY-1") {
			id, err := age.ParseX25519Identity(line)
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func keyFile() string {
	if path := os.Getenv("SOPS_AGE_KEY_FILE"); path != "" {
		return path
	}
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, _ := os.UserHomeDir()
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "sops", "age", "keys.txt")
}

func encryptFor(value []byte, recipients []string) ([]byte, error) {
	store := common.StoreForFormat(formats.Binary, config.NewStoresConfig())
	branches, err := store.LoadPlainFile(value)
	if err != nil {
		return nil, err
	}
	var group sops.KeyGroup
	for _, r := range recipients {
		master, err := sopsage.MasterKeyFromRecipient(r)
		if err != nil {
			return nil, err
		}
		group = append(group, master)
	}
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{KeyGroups: []sops.KeyGroup{group}, Version: version.Version}}
	data, errs := tree.GenerateDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyservice.NewLocalClient()})
	if len(errs) > 0 {
		return nil, fmt.Errorf("make a data key: %w", errs[0])
	}
	if err := common.EncryptTree(common.EncryptTreeOpts{DataKey: data, Tree: &tree, Cipher: aes.NewCipher()}); err != nil {
		return nil, err
	}
	return store.EmitEncryptedFile(tree)
}

func decrypt(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return sopsdecrypt.Data(data, "binary")
}
