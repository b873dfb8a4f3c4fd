package sops

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getsops/sops/v3"

	"infra/builtins/internal/sops/sopstest"
)

func TestCheck(t *testing.T) {
	lonely(t)
	ann, bob, eve := newKey(t), newKey(t), newKey(t)
	whole := func(t *testing.T) []byte {
		return seal(t, "a.yaml", "v: plaintext-value\nw: plaintext-other\n", named(ann), named(bob)).Bytes(t)
	}
	replaced := func(old, new string) func(t *testing.T) []byte {
		return func(t *testing.T) []byte { return bytes.Replace(whole(t), []byte(old), []byte(new), 1) }
	}
	for _, c := range []struct {
		name string
		file func(t *testing.T) []byte
		rule []string
		key  string
		want []string // kind and a part of the detail
	}{
		{"good", whole, nil, "", nil},
		{"good, no rules", whole, []string{}, "", nil},
		{"missing", nil, nil, "", []string{"missing: there is no sops file a.yaml"}},
		{"not encrypted", func(*testing.T) []byte { return []byte("v: plaintext-value\n") }, nil, "", []string{"damaged: a.yaml is not encrypted by sops"}},
		{"truncated", func(t *testing.T) []byte { b := whole(t); return b[:bytes.Index(b, []byte("lastmodified"))] }, nil, "", []string{"damaged: a.yaml is damaged"}},
		{"one missing", func(t *testing.T) []byte { return seal(t, "a.yaml", "v: x\n", named(ann)).Bytes(t) }, nil, "",
			[]string{"recipients: a.yaml is not encrypted for age " + named(bob)}},
		{"one extra", func(t *testing.T) []byte {
			return seal(t, "a.yaml", "v: x\n", named(ann), named(bob), named(eve)).Bytes(t)
		}, nil, "",
			[]string{"recipients: a.yaml is encrypted for age " + named(eve)}},
		{"no rule", whole, []string{"path_regex: other", "age: " + named(ann)}, "", []string{"no rule: no rule in "}},
		{"threshold", func(t *testing.T) []byte {
			return sealWith(t, "a.yaml", "v: x\n", sops.Metadata{ShamirThreshold: 2, KeyGroups: []sops.KeyGroup{group(t, named(ann)), group(t, named(bob)), group(t, named(eve))}}).Bytes(t)
		}, []string{"key_groups: [{age: [" + named(ann) + "]}, {age: [" + named(bob) + "]}, {age: [" + named(eve) + "]}]"}, ann.String() + " " + bob.String(),
			[]string{"recipients: a.yaml needs 2 of its key groups, where its rule wants 3"}},
		{"in clear", func(t *testing.T) []byte {
			return sealWith(t, "a.yaml", "user: plaintext-user\nlist:\n    - token: plaintext-token\n",
				sops.Metadata{EncryptedRegex: "^user$", KeyGroups: []sops.KeyGroup{group(t, named(ann), named(bob))}}).Bytes(t)
		}, []string{"encrypted_regex: ^(user|token)$", "age: " + named(ann) + "," + named(bob)}, "",
			[]string{"clear: a.yaml[list.token] is in clear"}},
		{"unreadable", whole, nil, eve.String(), []string{"unreadable: no key here can decrypt a.yaml"}},
		{"no key at all", whole, nil, "none", []string{"unreadable: no key here can decrypt a.yaml"}},
		{"data", replaced("v: ENC[AES256_GCM,data:", "v: ENC[AES256_GCM,data:AAAA"), nil, "", []string{"changed: a.yaml was changed after it was encrypted: a value in it does not decrypt"}},
		{"mac", replaced("mac: ENC[AES256_GCM,data:", "mac: ENC[AES256_GCM,data:AAAA"), nil, "", []string{"changed: a.yaml was changed after it was encrypted: its MAC"}},
		{"date", replaced("lastmodified: \"20", "lastmodified: \"19"), nil, "", []string{"changed: a.yaml was changed after it was encrypted: its MAC"}},
		{"two at once", func(t *testing.T) []byte { return seal(t, "a.yaml", "v: x\n", named(eve), named(ann)).Bytes(t) }, nil, bob.String(),
			[]string{"recipients: a.yaml is not encrypted for age " + named(bob), "recipients: a.yaml is encrypted for age " + named(eve), "unreadable: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			switch c.key {
			case "":
				t.Setenv("SOPS_AGE_KEY", ann.String())
			case "none":
				t.Setenv("SOPS_AGE_KEY", "")
			default:
				t.Setenv("SOPS_AGE_KEY", c.key)
			}
			root := t.TempDir()
			if c.file != nil {
				write(t, filepath.Join(root, "a.yaml"), c.file(t))
			}
			if c.rule == nil {
				c.rule = []string{"age: " + named(ann) + "," + named(bob)}
			}
			if len(c.rule) > 0 {
				rule(t, root, c.rule...)
			}
			problems, err := NewReader().Check(t.Context(), FileAt(root, "a.yaml"), io.Discard)
			must(t, err)
			if len(problems) != len(c.want) {
				t.Fatalf("problems %+v, want %q", problems, c.want)
			}
			for i, p := range problems {
				got := p.Kind + ": " + p.Detail
				if !strings.HasPrefix(got, c.want[i]) {
					t.Errorf("got %q, want %q", got, c.want[i])
				}
				if strings.Contains(got, "plaintext-") || strings.Contains(got, "\n") {
					t.Errorf("it says too much: %q", got)
				}
			}
		})
	}
}

// What a check finds against the rules, the real sops mends, and a rotation does.
func TestCheckAgreesWithRealSops(t *testing.T) {
	lonely(t)
	ann, bob := newKey(t), newKey(t)
	t.Setenv("SOPS_AGE_KEY", ann.String())
	root := project(t, ann, bob)
	f := FileAt(root, "a.yaml")
	kindsOf := func() (kinds []string) {
		problems, err := NewReader().Check(t.Context(), f, io.Discard)
		must(t, err)
		for _, p := range problems {
			kinds = append(kinds, p.Kind)
		}
		return kinds
	}
	for name, mend := range map[string]func() error{
		"updatekeys": func() error { _, err := sopstest.Sops(t, root, "", "updatekeys", "--yes", "a.yaml"); return err },
		"rotate":     func() error { _, err := NewReader().Rotate(t.Context(), f, io.Discard); return err },
	} {
		t.Run(name, func(t *testing.T) {
			write(t, f.Path(), seal(t, "a.yaml", "v: x\n", named(ann)).Bytes(t))
			if got := kindsOf(); !slices.Equal(got, []string{Recipients}) {
				t.Errorf("before: %q", got)
			}
			must(t, mend())
			if got := kindsOf(); len(got) > 0 {
				t.Errorf("after: %q", got)
			}
		})
	}
	must(t, os.Remove(f.Path()))
}
