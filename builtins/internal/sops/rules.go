package sops

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/version"

	"infra/runtime"
)

const rulesFile = ".sops.yaml"

// Rules are what the nearest .sops.yaml says of a file: that of its folder or
// of one above it.
type rules struct {
	path   string               // of the .sops.yaml; "" where there is none
	stores *config.StoresConfig // how files are indented
	rule   *config.Config       // for this file; nil where none matches
}

// rules reads them. A .sops.yaml without a rule for the file is no error.
func (f File) rules() (rules, error) {
	found, err := config.LookupConfigFile(f.Path())
	if err != nil { // there is none
		return rules{stores: config.NewStoresConfig()}, nil
	}
	out := rules{path: found.Path}
	out.stores, err = guarded(func() (*config.StoresConfig, error) { return config.LoadStoresConfig(found.Path) })
	if err != nil {
		return rules{}, notRules(found.Path, err)
	}
	out.rule, err = guarded(func() (*config.Config, error) {
		return config.LoadCreationRuleForFile(found.Path, filepath.Clean(f.Path()), nil)
	})
	if err != nil && !strings.Contains(err.Error(), "no matching creation rules") {
		return rules{}, notRules(found.Path, err)
	}
	return out, nil
}

// notRules passes on what is wrong with a .sops.yaml, which is no secret,
// unless somebody took it for one.
func notRules(path string, err error) error {
	text := err.Error()
	if strings.Contains(text, "AGE-SECRET-KEY-") || strings.Contains(text, "-----BEGIN") || errors.Is(err, errPanicked) {
		return runtime.WithHint(fmt.Errorf("the rules in %s cannot be read", path), "it wants public keys: age1..., not AGE-SECRET-KEY-...")
	}
	return fmt.Errorf("the rules in %s cannot be read: %s", path, text)
}

// mustHave fails where no rule is for the file.
func (r rules) mustHave(f File) error {
	switch {
	case r.path == "":
		return runtime.WithHint(fmt.Errorf("there is no %s for %s", rulesFile, f.Name),
			"write one in the project's root, with a rule that says for whom the file is: creation_rules: [{path_regex: ..., age: age1...}]")
	case r.rule == nil:
		return runtime.WithHint(fmt.Errorf("no rule in %s is for %s", r.path, f.Name),
			"give it a creation_rule whose path_regex matches the name from that folder")
	}
	for _, group := range r.rule.KeyGroups {
		if len(group) == 0 {
			return runtime.WithHint(fmt.Errorf("the rule for %s in %s has nobody to encrypt for", f.Name, r.path), "give it a recipient: age: age1...")
		}
	}
	if n, most := r.rule.ShamirThreshold, len(r.rule.KeyGroups); most > 1 && n != 0 && (n < 2 || n > most) {
		return fmt.Errorf("the rule for %s in %s has %d key groups, which cannot share a key with a shamir_threshold of %d", f.Name, r.path, most, n)
	}
	return nil
}

// metadata is that of a new file.
func (r rules) metadata(f File) sops.Metadata {
	m := sops.Metadata{Version: version.Version, KeyGroups: r.rule.KeyGroups, ShamirThreshold: r.threshold()}
	if f.Format == Binary {
		return m // its one value is always encrypted
	}
	choose(&m, r.rule)
	return m
}

// threshold is how many key groups are needed, as sops writes it.
func (r rules) threshold() int {
	groups := len(r.rule.KeyGroups)
	switch {
	case groups < 2:
		return 0
	case r.rule.ShamirThreshold == 0:
		return groups
	}
	return r.rule.ShamirThreshold
}

// choose makes the metadata say which values are encrypted, as a rule does.
func choose(m *sops.Metadata, rule *config.Config) {
	m.UnencryptedSuffix, m.EncryptedSuffix = rule.UnencryptedSuffix, rule.EncryptedSuffix
	m.UnencryptedRegex, m.EncryptedRegex = rule.UnencryptedRegex, rule.EncryptedRegex
	m.UnencryptedCommentRegex, m.EncryptedCommentRegex = rule.UnencryptedCommentRegex, rule.EncryptedCommentRegex
	m.MACOnlyEncrypted = rule.MACOnlyEncrypted
	if m.UnencryptedSuffix+m.EncryptedSuffix+m.UnencryptedRegex+m.EncryptedRegex+m.UnencryptedCommentRegex+m.EncryptedCommentRegex == "" {
		m.UnencryptedSuffix = sops.DefaultUnencryptedSuffix
	}
}

// rulesLooks are where a .sops.yaml for the file may be.
func (f File) rulesLooks() []string {
	var paths []string
	for dir := filepath.Dir(f.Path()); ; dir = filepath.Dir(dir) {
		paths = append(paths, filepath.Join(dir, rulesFile))
		if dir == filepath.Dir(dir) {
			return paths
		}
	}
}

// exists says whether there is something at the file's path.
func (f File) exists() bool {
	_, err := os.Stat(f.Path())
	return !errors.Is(err, os.ErrNotExist)
}
