package clan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/plugin"
)

// The kinds of those who can be given a secret, as their folders under sops/
// are called.
const (
	users    = "users"
	machines = "machines"
	groups   = "groups"
)

// A holder is a user or a machine with keys under sops/.
type holder struct{ kind, name string }

// String is "user alice".
func (h holder) String() string { return strings.TrimSuffix(h.kind, "s") + " " + h.name }

func (h holder) file() string { return path.Join("sops", h.kind, h.name, "key.json") }

// held are a holder's public keys, or why they are not known.
type held struct {
	keys []string
	err  error
}

// holds returns the keys of a holder, which are read once.
func (r *repository) holds(h holder) held {
	if k, ok := r.keys[h]; ok {
		return k
	}
	var k held
	data, err := r.read(h.file())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.err = fmt.Errorf("%s has no key: there is no %s", h, h.file())
	case err != nil:
		k.err = fmt.Errorf("%s %w", h.file(), err)
	default:
		if k.keys, err = parseKeys(data); err != nil {
			k.err = fmt.Errorf("%s %w", h.file(), err)
		}
	}
	r.keys[h] = k
	return k
}

// A publicKey is one as clan writes it.
type publicKey struct {
	PublicKey string `json:"publickey"`
	Type      string `json:"type"`
}

// parseKeys reads a key.json: a list of keys or, as clan once wrote it, one.
func parseKeys(data []byte) ([]string, error) {
	list := []publicKey{{}}
	into := any(&list[0])
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		into = &list
	}
	if err := json.Unmarshal(data, into); err != nil {
		return nil, errors.New("is damaged: it is no JSON of keys")
	}
	if len(list) == 0 {
		return nil, errors.New("holds no key")
	}
	keys := make([]string, len(list))
	for i, k := range list {
		if err := k.check(); err != nil {
			return nil, err
		}
		keys[i] = k.PublicKey
	}
	return keys, nil
}

var fingerprint = regexp.MustCompile(`^(0x)?[0-9A-Fa-f]{16,64}$`)

// check says why a key is none of the type that it says.
func (k publicKey) check() error {
	switch k.Type {
	case "age":
		if !isAge(k.PublicKey) {
			return fmt.Errorf("says that %q is an age key, and it is none", shorten(k.PublicKey))
		}
		return nil
	case "pgp":
		if !fingerprint.MatchString(k.PublicKey) {
			return fmt.Errorf("says that %q is the fingerprint of a PGP key, and it is none", shorten(k.PublicKey))
		}
		return nil
	}
	return fmt.Errorf("has a key of type %q; sops knows age and pgp", shorten(k.Type))
}

// isAge says whether age can encrypt for a recipient; that of a plugin counts.
func isAge(recipient string) bool {
	if strings.HasPrefix(recipient, "ssh-") {
		_, err := agessh.ParseRecipient(recipient)
		return err == nil
	}
	if _, err := age.ParseX25519Recipient(recipient); err == nil {
		return true
	}
	if _, err := age.ParseHybridRecipient(recipient); err == nil {
		return true
	}
	_, _, err := plugin.ParseRecipient(recipient)
	return err == nil
}

// shorten cuts what would fill a screen.
func shorten(s string) string {
	if len(s) <= 80 {
		return s
	}
	return s[:40] + "..." + s[len(s)-12:]
}

// linkedTo returns who is linked in a folder of links: dir/users or dir/machines.
func (r *repository) linkedTo(dir, kind string) ([]holder, error) {
	names, err := r.links(path.Join(dir, kind), "sops/"+kind)
	out := make([]holder, len(names))
	for i, name := range names {
		out[i] = holder{kind, name}
	}
	return out, err
}

// links returns the names to which the links in dir lead, all of them in the
// folder of. A link that leads elsewhere is an error; the others still count.
func (r *repository) links(dir, of string) ([]string, error) {
	entries, err := r.list(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // .gitkeep and the like
		}
		name, err := r.linked(path.Join(dir, e.Name()), of)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		names = append(names, name)
	}
	return names, errors.Join(errs...)
}

// A group is who belongs to it, or why that is not all known.
type group struct {
	members []holder
	err     error
}

// group returns the users and machines of a group, which are read once.
func (r *repository) group(name string) group {
	if g, ok := r.groups[name]; ok {
		return g
	}
	dir := path.Join("sops", groups, name)
	var g group
	switch entries, err := r.list(dir); {
	case err != nil:
		g.err = err
	case entries == nil:
		g.err = fmt.Errorf("there is no group %s: %s is not there", name, dir)
	default:
		g.members, g.err = r.linkedFrom(dir, entries)
	}
	r.groups[name] = g
	return g
}

// linkedFrom returns the users and machines to whom folders of links lead that
// are among the entries of dir.
func (r *repository) linkedFrom(dir string, entries []fs.DirEntry) ([]holder, error) {
	var all []holder
	var errs []error
	for _, e := range entries {
		if kind := e.Name(); kind == users || kind == machines {
			of, err := r.linkedTo(dir, kind)
			all, errs = append(all, of...), append(errs, err)
		}
	}
	return all, errors.Join(errs...)
}
