package sops

import (
	"time"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keys"
)

// A Recipient is one for whom a file is encrypted. Nothing proves that the
// file's key is really wrapped for it: the name is what the file says.
type Recipient struct {
	Kind  string // "age", "pgp", "kms", "gcp_kms", "azure_kv", "hc_vault", "hckms"
	Name  string // the public key, the fingerprint, the ARN
	Group int    // of which key group it is one, from 0
}

// Metadata is what a file says of itself in clear.
type Metadata struct {
	Recipients   []Recipient
	Groups       int // how many key groups there are
	Threshold    int // how many of them are needed; 0 is all
	LastModified time.Time
	Version      string // of the sops that wrote it
}

// ReadMetadata reads what needs no key. Nothing in it is authenticated.
func ReadMetadata(f File, data []byte) (Metadata, error) {
	tree, err := f.load(common.StoreForFormat(f.Format, config.NewStoresConfig()), data)
	if err != nil {
		return Metadata{}, err
	}
	m := tree.Metadata
	return Metadata{recipientsOf(m.KeyGroups), len(m.KeyGroups), m.ShamirThreshold, m.LastModified, m.Version}, nil
}

func recipientsOf(groups []sops.KeyGroup) []Recipient {
	var out []Recipient
	for i, group := range groups {
		for _, key := range group {
			out = append(out, Recipient{key.TypeToIdentifier(), keyName(key), i})
		}
	}
	return out
}

// keyName is the key's own name; some damaged ones make the library panic.
func keyName(key keys.MasterKey) string {
	name, err := guarded(func() (string, error) { return key.ToString(), nil })
	if err != nil {
		return "(damaged)"
	}
	return name
}
