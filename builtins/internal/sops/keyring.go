package sops

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"filippo.io/age"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
	"github.com/getsops/sops/v3"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/keyservice"
)

// A keyring unwraps data keys. It remembers them by the metadata of the file,
// which stay when sops changes a value, and remembers the identities: so a
// person is asked for a touch or a passphrase once. Its user holds the
// reader's turn.
type keyring struct {
	dataKeys map[[sha256.Size]byte][]byte
	places   []place          // nil: to be searched
	commands map[string]place // by variable and recipient

	ui  *plugin.ClientUI
	log atomic.Pointer[opLog] // who hears what plugins say; they say it from goroutines of their own
}

func newKeyring() *keyring {
	k := &keyring{dataKeys: map[[sha256.Size]byte][]byte{}, commands: map[string]place{}}
	say := func(format string, args ...any) {
		if l := k.log.Load(); l != nil {
			l.printf(format, args...)
		}
	}
	k.ui = plugin.NewTerminalUI(say, say)
	return k
}

// dataKey unwraps a file's data key with the first of its recipients that works.
func (k *keyring) dataKey(ctx context.Context, file string, m *sops.Metadata, log *opLog) ([]byte, error) {
	id := metadataID(m)
	if key, ok := k.dataKeys[id]; ok {
		return key, nil
	}
	k.log.Store(log)
	s := &keyService{keyring: k, ctx: ctx, log: log, matching: true}
	key, err := s.dataKey(m)
	if err != nil {
		s.matching = false
		key, err = s.dataKey(m)
	}
	if err != nil {
		k.forget()
		return nil, s.failure(file, m)
	}
	k.dataKeys[id] = key
	return key, nil
}

func (s *keyService) dataKey(m *sops.Metadata) ([]byte, error) {
	return guarded(func() ([]byte, error) {
		return m.GetDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyservice.NewCustomLocalClient(s)}, decryptionOrder())
	})
}

// forget makes the next try search again: the person may have added a key.
func (k *keyring) forget() {
	k.places = nil
	clear(k.commands)
}

// metadataID tells files apart by how their data keys are wrapped.
func metadataID(m *sops.Metadata) [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", m.ShamirThreshold)
	for i, group := range m.KeyGroups {
		for _, key := range group {
			fmt.Fprintf(h, "%d %q %q\n", i, key.TypeToIdentifier(), key.EncryptedDataKey())
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// decryptionOrder is which kinds of key are tried first.
func decryptionOrder() []string {
	if v := os.Getenv("SOPS_DECRYPTION_ORDER"); v != "" {
		return strings.Split(strings.ReplaceAll(v, " ", ""), ",")
	}
	return sops.DefaultDecryptionOrder
}

// static searches the places that need no command.
func (k *keyring) static() []place {
	if k.places == nil {
		k.places = places(k.ui)
	}
	return k.places
}

// byCommand runs the key commands for a recipient.
func (k *keyring) byCommand(ctx context.Context, recipient string, log *opLog) []place {
	parse := map[string]func([]byte) ([]identity, error){
		sopsage.SopsAgeKeyCmdEnv:           func(out []byte) ([]identity, error) { return parseIdentities(string(out), false, k.ui) },
		sopsage.SopsAgeSshPrivateKeyCmdEnv: func(pem []byte) ([]identity, error) { return parseSSHKey(pem) },
	}
	var out []place
	for _, name := range []string{sopsage.SopsAgeKeyCmdEnv, sopsage.SopsAgeSshPrivateKeyCmdEnv} {
		id := name + " " + recipient
		p, ok := k.commands[id]
		if !ok {
			p = variable(name, false, func(line string) ([]identity, error) {
				printed, err := keyCommand(ctx, line, recipient, log)
				if err != nil {
					return nil, err
				}
				return parse[name](printed)
			})
			k.commands[id] = p
		}
		out = append(out, p)
	}
	return out
}

// A keyService answers the sops library for one file: age keys with our own
// identities, the rest (KMS, Vault, PGP) as sops itself does. It holds ctx
// because the library calls it with one of its own.
type keyService struct {
	*keyring
	ctx      context.Context
	log      *opLog
	searched []place
	problems []string
	wouldAsk bool // a key was not tried, since nobody is to be asked
	matching bool // only an identity that a recipient is called by is tried: most often that is all there is to do
}

var errNoKey = errors.New("no key")

// Encrypt wraps a data key for one recipient. That needs no private key.
func (s *keyService) Encrypt(ctx context.Context, req *keyservice.EncryptRequest) (*keyservice.EncryptResponse, error) {
	answer, err := keyservice.Server{}.Encrypt(ctx, req)
	if err != nil {
		s.problem(err.Error())
	}
	return answer, err
}

// Decrypt unwraps a data key for one recipient.
func (s *keyService) Decrypt(ctx context.Context, req *keyservice.DecryptRequest) (*keyservice.DecryptResponse, error) {
	ageKey := req.Key.GetAgeKey()
	if s.matching {
		return s.match(ageKey, req.Ciphertext)
	}
	if ageKey == nil {
		if quiet(s.ctx) {
			s.wouldAsk = true
			return nil, errNoKey
		}
		answer, err := keyservice.Server{}.Decrypt(ctx, req)
		if err != nil {
			s.problem(err.Error())
		}
		return answer, err
	}
	key, err := s.unwrap(ageKey.Recipient, string(req.Ciphertext))
	if err != nil {
		return nil, err
	}
	return &keyservice.DecryptResponse{Plaintext: key}, nil
}

// match unwraps with the identity that has the recipient's name. Who wrote the
// file may have got that wrong: this says only what works, and nothing of why not.
func (s *keyService) match(key *keyservice.AgeKey, wrapped []byte) (*keyservice.DecryptResponse, error) {
	for _, p := range s.static() {
		for _, id := range p.ids {
			if key == nil || id.asks || id.public != key.Recipient {
				continue
			}
			if plain, err := unwrapWith(id, string(wrapped)); err == nil {
				return &keyservice.DecryptResponse{Plaintext: plain}, nil
			}
		}
	}
	return nil, errNoKey
}

// unwrap tries what needs nobody first, then the key commands, and what asks a
// person last.
func (s *keyService) unwrap(recipient, wrapped string) ([]byte, error) {
	static := s.static()
	s.searched = static
	if key := s.try(static, false, wrapped); key != nil {
		return key, nil
	}
	if quiet(s.ctx) {
		s.wouldAsk = s.wouldAsk || couldAsk(static)
		return nil, errNoKey
	}
	all := append(slices.Clip(static), s.byCommand(s.ctx, recipient, s.log)...)
	s.searched = all
	if key := s.try(all[len(static):], false, wrapped); key != nil {
		return key, nil
	}
	if key := s.try(all, true, wrapped); key != nil {
		return key, nil
	}
	return nil, errNoKey
}

// couldAsk says whether there are keys that need a person or a program.
func couldAsk(static []place) bool {
	for _, name := range []string{sopsage.SopsAgeKeyCmdEnv, sopsage.SopsAgeSshPrivateKeyCmdEnv} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return slices.ContainsFunc(static, func(p place) bool {
		return slices.ContainsFunc(p.ids, func(id identity) bool { return id.asks })
	})
}

// try gives each identity its chance: one that fails does not stop the others.
func (s *keyService) try(places []place, asking bool, wrapped string) []byte {
	for _, p := range places {
		for _, id := range p.ids {
			if id.asks != asking || s.ctx.Err() != nil {
				continue
			}
			key, err := unwrapWith(id, wrapped)
			if err == nil {
				return key
			}
			if !errors.Is(err, age.ErrIncorrectIdentity) {
				s.problem(fmt.Sprintf("%s: %s", p.name, err))
			}
		}
	}
	return nil
}

func unwrapWith(id age.Identity, wrapped string) ([]byte, error) {
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(wrapped)), id)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, 1<<10))
}

// longestProblem bounds what is shown of a tool's or a cloud's complaint.
const longestProblem = 300

func (s *keyService) problem(text string) {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > longestProblem {
		text = text[:longestProblem] + "..."
	}
	if !slices.Contains(s.problems, text) {
		s.problems = append(s.problems, text)
	}
}
