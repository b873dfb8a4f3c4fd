package fleet

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"filippo.io/age"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/version"
)

// writeAgeKey makes the user's age key and returns its recipient.
func (f *Fleet) writeAgeKey() (string, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("# public key: %s\n%s\n", id.Recipient(), id)
	return id.Recipient().String(), f.write(0o600, text, "age", "keys.txt")
}

// plainSecrets are a host's secrets, made anew for every lab. The cloud's token
// is among those of the server.
func plainSecrets(host, token string) string {
	text := fmt.Sprintf("zerotier:\n    identity: %s:0:%s:%s\nuser:\n    password: %s\n",
		random(5), random(64), random(64), random(16))
	if host == "cinnabar" {
		text += fmt.Sprintf("hcloud:\n    token: %s\ndb:\n    password: %s\n", token, random(16))
	}
	return text
}

// random is n random bytes in hexadecimal.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// encrypt makes a sops file of a text.
func encrypt(format formats.Format, text string, recipients ...string) (string, error) {
	store := common.StoreForFormat(format, config.NewStoresConfig())
	branches, err := store.LoadPlainFile([]byte(text))
	if err != nil {
		return "", err
	}
	var group sops.KeyGroup
	for _, r := range recipients {
		key, err := sopsage.MasterKeyFromRecipient(r)
		if err != nil {
			return "", err
		}
		group = append(group, key)
	}
	tree := sops.Tree{
		Branches: branches,
		Metadata: sops.Metadata{KeyGroups: []sops.KeyGroup{group}, Version: version.Version},
	}
	services := []keyservice.KeyServiceClient{keyservice.NewLocalClient()}
	key, errs := tree.GenerateDataKeyWithKeyServices(services)
	if len(errs) > 0 {
		return "", fmt.Errorf("make a data key: %w", errs[0])
	}
	err = common.EncryptTree(common.EncryptTreeOpts{DataKey: key, Tree: &tree, Cipher: aes.NewCipher()})
	if err != nil {
		return "", err
	}
	sealed, err := store.EmitEncryptedFile(tree)
	return string(sealed), err
}
