package sops

import (
	"slices"
	"testing"

	"github.com/getsops/sops/v3"
)

// Recipients are told without a key.
func TestMetadata(t *testing.T) {
	lonely(t)
	ann, bob := newKey(t).Recipient().String(), newKey(t).Recipient().String()
	for _, name := range []string{"a.yaml", "a.json", "a.env", "a.ini", "a.bin"} {
		f := FileAt("", name)
		plain := map[Format]string{JSON: `{"a": "b"}`, INI: "[s]\na = b\n", Dotenv: "a=b\n", YAML: "a: b\n", Binary: "b"}[f.Format]
		s := sealWith(t, name, plain, sops.Metadata{ShamirThreshold: 2, KeyGroups: []sops.KeyGroup{group(t, ann), group(t, bob)}})
		m, err := ReadMetadata(f, s.Bytes(t))
		must(t, err)
		want := []Recipient{{"age", ann, 0}, {"age", bob, 1}}
		if !slices.Equal(m.Recipients, want) || m.Groups != 2 || m.Threshold != 2 || m.Version != "3.13.3" || m.LastModified.IsZero() {
			t.Errorf("%s: %+v", name, m)
		}
	}
	_, err := ReadMetadata(FileAt("", "a.yaml"), []byte("a: plaintext\n"))
	checkError(t, err, "a.yaml is not encrypted by sops", "sops encrypt")
}
