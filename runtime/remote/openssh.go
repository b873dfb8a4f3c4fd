package remote

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/crypto/ssh"

	"infra/runtime"
)

// An Option is one of OpenSSH's, for -o.
type Option struct{ Name, Value string }

// OpenSSH returns the options by which ssh itself reaches a host that is at an
// address of its own, and accepts the very key that the pool accepts. They go
// before any others. Done takes the file away that they name. A host as ssh's
// configuration has it needs none.
func (p *Pool) OpenSSH(ctx context.Context, h *runtime.Host) (options []Option, done func(), err error) {
	if h.Place == nil {
		return nil, func() {}, nil
	}
	e, err := p.endpoint(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	keys := e.as.keys()
	if len(keys) == 0 {
		if _, err := p.to(ctx, h); err != nil { // the key that it shows is checked
			return nil, nil, err
		}
		p.mu.Lock()
		keys = knownHosts{{key: p.shown[e.key()]}}
		p.mu.Unlock()
	}
	dir, err := os.MkdirTemp("", "infra-known-hosts-")
	if err != nil {
		return nil, nil, fmt.Errorf("a folder for the key of %s: %w", h.Name, err)
	}
	done = func() { _ = os.RemoveAll(dir) } // in the folder for what may be lost
	file := filepath.Join(dir, "known_hosts")
	var lines, algorithms string
	for _, k := range keys {
		lines += keyAlias + " " + authorizedKey(k.key) + "\n"
		algorithms += "," + algorithmsOf(k.key)
	}
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		done()
		return nil, nil, fmt.Errorf("a file for the key of %s: %w", h.Name, err)
	}
	return []Option{
		{"HostName", e.HostName}, {"Port", strconv.Itoa(e.Port)}, {"HostKeyAlias", keyAlias},
		{"UserKnownHostsFile", file}, {"GlobalKnownHostsFile", "/dev/null"}, {"HostKeyAlgorithms", algorithms[1:]},
		{"StrictHostKeyChecking", "yes"}, {"UpdateHostKeys", "no"}, {"VerifyHostKeyDNS", "no"}, {"CheckHostIP", "no"},
	}, done, nil
}

// keyAlias is what the file calls the one host that it knows.
const keyAlias = "infra-host"

// algorithmsOf asks for the key itself: the file has no authority that signs.
func algorithmsOf(key ssh.PublicKey) string {
	if key.Type() == ssh.KeyAlgoRSA {
		return ssh.KeyAlgoRSASHA512 + "," + ssh.KeyAlgoRSASHA256
	}
	return key.Type()
}
