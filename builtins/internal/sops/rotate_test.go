package sops

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/getsops/sops/v3"

	"infra/builtins/internal/sops/sopstest"
)

func named(id *age.X25519Identity) string { return id.Recipient().String() }

// rotate foresees and rotates, and fails unless both say the same.
func rotate(t *testing.T, root, name string) (Rotation, error) {
	t.Helper()
	foreseen, early := FileAt(root, name).Rotation()
	done, err := NewReader().Rotate(t.Context(), FileAt(root, name), io.Discard)
	if early != nil && (err == nil || early.Error() != err.Error()) {
		t.Errorf("foreseen %v, got %v", early, err)
	}
	if err == nil && (!slices.Equal(foreseen.Added, done.Added) || !slices.Equal(foreseen.Removed, done.Removed) ||
		!slices.Equal(foreseen.Encrypts, done.Encrypts) || foreseen.Threshold != done.Threshold) {
		t.Errorf("foreseen %+v, done %+v", foreseen, done)
	}
	return done, err
}

// Who is removed from the rule cannot read the new file, not even with the
// data key of the old one; who is added can. Nothing else changes.
func TestRotate(t *testing.T) {
	lonely(t)
	ann, bob, cyd := newKey(t), newKey(t), newKey(t)
	for _, f := range kinds {
		t.Run(f.file, func(t *testing.T) {
			t.Setenv("SOPS_AGE_KEY", ann.String())
			root := project(t, ann, cyd)
			path := filepath.Join(root, f.file)
			s := seal(t, f.file, f.plain, named(ann), named(bob))
			write(t, path, s.Bytes(t))
			before, err := open(t, root, f.file)
			must(t, err)
			done, err := rotate(t, root, f.file)
			must(t, err)
			if want := []Recipient{{"age", named(cyd), 0}}; !slices.Equal(done.Added, want) {
				t.Errorf("added %v", done.Added)
			}
			if want := []Recipient{{"age", named(bob), 0}}; !slices.Equal(done.Removed, want) {
				t.Errorf("removed %v", done.Removed)
			}
			data, err := os.ReadFile(path)
			must(t, err)
			for line := range strings.Lines(string(s.Bytes(t))) {
				if _, value, ok := strings.Cut(line, "ENC["); ok && bytes.Contains(data, []byte(value)) {
					t.Errorf("it still has %s", line)
				}
			}
			for _, who := range []*age.X25519Identity{ann, cyd} {
				t.Setenv("SOPS_AGE_KEY", who.String())
				after, err := open(t, root, f.file)
				must(t, err)
				if content(t, after) != content(t, before) {
					t.Errorf("it was %q, now it is %q", content(t, before), content(t, after))
				}
				_, err = sopstest.Sops(t, root, "", "decrypt", f.file)
				must(t, err)
			}
			t.Setenv("SOPS_AGE_KEY", bob.String())
			if _, err := open(t, root, f.file); !NoKey(err) {
				t.Errorf("who was removed gets %v", err)
			}
			tree, err := FileAt(root, f.file).load(s.Store, data)
			must(t, err)
			if err := openTree(&tree, s.Tree.Metadata.DataKey, steady{}); err == nil {
				t.Error("the old data key opens it")
			}
		})
	}
}

// A rotation asks nobody for the key that it made itself.
func TestRotateAsksOnce(t *testing.T) {
	lonely(t)
	id := newKey(t)
	pluginKey, count := installPlugin(t, id)
	t.Setenv("SOPS_AGE_KEY", pluginKey)
	root := project(t, id)
	r, f := NewReader(), FileAt(root, "a.yaml")
	write(t, f.Path(), seal(t, "a.yaml", "v: value\n", named(id)).Bytes(t))
	_, err := r.Rotate(t.Context(), f, io.Discard)
	must(t, err)
	doc, err := r.Open(t.Context(), f, io.Discard)
	must(t, err)
	if got := touches(t, count); got != 1 || get(t, doc, "v") != "value" {
		t.Errorf("the key was touched %d times", got)
	}
}

// Without a .sops.yaml the recipients and their groups stay.
func TestRotateWithoutRules(t *testing.T) {
	lonely(t)
	ann, bob := newKey(t), newKey(t)
	t.Setenv("SOPS_AGE_KEY", ann.String()+" "+bob.String())
	root := t.TempDir()
	s := sealWith(t, "a.yaml", "v: value\n", sops.Metadata{ShamirThreshold: 2, KeyGroups: []sops.KeyGroup{group(t, named(ann)), group(t, named(bob))}})
	write(t, filepath.Join(root, "a.yaml"), s.Bytes(t))
	done, err := rotate(t, root, "a.yaml")
	must(t, err)
	if done.Ruled || len(done.Added)+len(done.Removed) > 0 {
		t.Errorf("%+v", done)
	}
	got, err := sopstest.Sops(t, root, "", "decrypt", "a.yaml")
	must(t, err)
	t.Setenv("SOPS_AGE_KEY", ann.String())
	if _, err := open(t, root, "a.yaml"); got != "v: value\n" || !NoKey(err) {
		t.Errorf("both read %q, one %v", got, err)
	}
}

// Key groups and their threshold come from the rule.
func TestRotateKeyGroups(t *testing.T) {
	lonely(t)
	ann, bob, cyd := newKey(t), newKey(t), newKey(t)
	for _, c := range []struct {
		threshold string
		holders   []*age.X25519Identity
		err       string
	}{
		{"", []*age.X25519Identity{ann, bob, cyd}, ""},
		{"shamir_threshold: 2", []*age.X25519Identity{ann, cyd}, ""},
		{"shamir_threshold: 3", []*age.X25519Identity{ann, bob, cyd}, ""},
		{"shamir_threshold: 1", nil, "cannot share a key with a shamir_threshold of 1"},
		{"shamir_threshold: 4", nil, "cannot share a key with a shamir_threshold of 4"},
	} {
		t.Run(c.threshold, func(t *testing.T) {
			root := t.TempDir()
			write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", "v: value\n", named(ann)).Bytes(t))
			lines := []string{"key_groups:", "  - age: [" + named(ann) + "]", "  - age: [" + named(bob) + "]", "  - age: [" + named(cyd) + "]"}
			rule(t, root, append(lines, c.threshold)...)
			t.Setenv("SOPS_AGE_KEY", ann.String())
			_, err := rotate(t, root, "a.yaml")
			if c.err != "" {
				checkError(t, err, c.err, "")
				return
			}
			must(t, err)
			if _, err := open(t, root, "a.yaml"); !NoKey(err) {
				t.Errorf("one alone gets %v", err)
			}
			var keys string
			for _, id := range c.holders {
				keys += id.String() + " "
			}
			t.Setenv("SOPS_AGE_KEY", keys)
			doc, err := open(t, root, "a.yaml")
			must(t, err)
			got, err := sopstest.Sops(t, root, "", "decrypt", "a.yaml")
			must(t, err)
			if get(t, doc, "v") != "value" || got != "v: value\n" {
				t.Errorf("we read %q, sops %q", get(t, doc, "v"), got)
			}
		})
	}
}

// A rule that encrypts more is followed, one that encrypts less is refused.
func TestRotateFollowsTheRule(t *testing.T) {
	id := withKey(t)
	const plain = "user: clear-user\npassword: hidden-value\ndb:\n    token: clear-token\n"
	for _, c := range []struct {
		rule     string
		encrypts []string
		err      string
	}{
		{"encrypted_regex: ^password$", nil, ""},
		{"encrypted_regex: ^(password|token)$", []string{"db.token"}, ""},
		{"unencrypted_suffix: _x", []string{"db.token", "user"}, ""},
		{"encrypted_regex: ^token$", nil, "leaves in clear what is encrypted now: password"},
		{"encrypted_regex: \"(\"", nil, ""},
	} {
		t.Run(c.rule, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, "a.yaml")
			s := sealWith(t, "a.yaml", plain, sops.Metadata{EncryptedRegex: "^password$", KeyGroups: []sops.KeyGroup{group(t, named(id))}})
			write(t, path, s.Bytes(t))
			rule(t, root, "age: "+named(id), c.rule)
			done, err := rotate(t, root, "a.yaml")
			if c.err != "" || strings.Contains(c.rule, `"("`) {
				checkError(t, err, c.err, "")
				checkQuiet(t, err, "clear-", "hidden-")
				if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, s.Bytes(t)) {
					t.Errorf("it was written all the same: %v", err)
				}
				return
			}
			must(t, err)
			if !slices.Equal(done.Encrypts, c.encrypts) {
				t.Errorf("it encrypts %q too", done.Encrypts)
			}
			got, err := sopstest.Sops(t, root, "", "decrypt", "a.yaml")
			must(t, err)
			data, err := os.ReadFile(path)
			must(t, err)
			if got != plain || strings.Count(string(data), "clear-") != 2-len(c.encrypts) {
				t.Errorf("sops reads %q of\n%s", got, data)
			}
		})
	}
}

// What is wrong with the rules is said, but no private key that somebody put there.
func TestRotateBadRules(t *testing.T) {
	id := withKey(t)
	for _, c := range []struct{ rules, err, hint string }{
		{"creation_rules: [{path_regex: other, age: " + named(id) + "}]", "no rule in", "path_regex"},
		{"creation_rules: [{path_regex: \"(\", age: x}]", "can not compile regexp", ""},
		{"creation_rules: [{age: " + id.String() + "}]", "cannot be read", "public keys"},
		{"creation_rules: [{age: \"\"}]", "has nobody to encrypt for", "recipient"},
		{"creation_rules: {", "cannot be read", ""},
		{"", "no rule in", ""},
	} {
		t.Run(c.rules, func(t *testing.T) {
			root := t.TempDir()
			write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", "v: value\n", named(id)).Bytes(t))
			write(t, filepath.Join(root, rulesFile), []byte(c.rules))
			_, err := rotate(t, root, "a.yaml")
			checkError(t, err, c.err, c.hint)
			checkQuiet(t, err, id.String())
		})
	}
}
