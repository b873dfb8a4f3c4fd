package sops

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/getsops/sops/v3"

	"infra/builtins/internal/file"
	"infra/runtime"
)

// A Setting is what one value of a file shall be.
type Setting struct {
	File  File
	Path  string // dotted; "" for a binary file, which has but one value
	Value runtime.Text
}

// A Difference is how a file differs from a [Setting].
type Difference uint8

// The differences.
const (
	Same    Difference = iota
	Another            // it has another value
	NoValue            // it has none
	NoFile             // there is no file; the rules of .sops.yaml make one
)

// Looks are the files that a setting looks at.
func (s Setting) Looks() []string { return s.File.LooksWithRules() }

// Foresee says what Set would do, without doing it: an error is one that Set
// would end with.
func (r *Reader) Foresee(ctx context.Context, s Setting, log io.Writer) (Difference, error) {
	diff, _, err := r.prepare(ctx, s, log)
	if err == nil && diff != Same {
		err = s.File.writable()
	}
	return diff, err
}

// ForWhom lists those for whom a file that is not there would be encrypted.
func (s Setting) ForWhom() ([]Recipient, error) {
	rules, err := s.File.rules()
	if err != nil {
		return nil, err
	}
	if err := rules.mustHave(s.File); err != nil {
		return nil, err
	}
	return recipientsOf(rules.rule.KeyGroups), nil
}

// Set makes the value what it shall be and keeps everything else: comments,
// order, the data key, every other value's ciphertext. A file that is not there
// is made by the rules of .sops.yaml. It replaces the file whole, and writes no
// plain text anywhere.
func (r *Reader) Set(ctx context.Context, s Setting, log io.Writer) (changed bool, err error) {
	if !s.File.exists() {
		if err := r.makeFolder(ctx, s, log); err != nil {
			return false, err
		}
	}
	unlock, err := s.File.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	diff, d, err := r.prepare(ctx, s, log)
	if err != nil || diff == Same {
		return false, err
	}
	if diff == NoFile {
		if err := r.newKey(ctx, d, log); err != nil {
			return false, err
		}
	}
	data, err := d.with(s)
	if err != nil {
		return false, err
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return true, s.File.replace(d.was, data)
}

// makeFolder makes the folder of a file that is not there, where there will be
// a file in it.
func (r *Reader) makeFolder(ctx context.Context, s Setting, log io.Writer) error {
	if _, _, err := r.prepare(ctx, s, log); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file.Target(s.File.Path())), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", s.File.Name, err)
	}
	return nil
}

// Compare says how the file is different, and fails where it cannot be read.
func (r *Reader) Compare(ctx context.Context, s Setting, log io.Writer) (Difference, error) {
	diff, _, err := r.prepare(ctx, s, log)
	return diff, err
}

// prepare decrypts the file, or begins one, and checks that the value may be
// put there.
func (r *Reader) prepare(ctx context.Context, s Setting, log io.Writer) (Difference, *draft, error) {
	rules, err := s.File.rules()
	if err != nil {
		return 0, nil, err
	}
	var d *draft
	missing := !s.File.exists()
	if missing {
		d, err = begin(s.File, rules)
	} else {
		d, err = r.draft(ctx, s.File, rules, log)
	}
	if err != nil {
		return 0, nil, err
	}
	spot, err := d.spotOf(s.Path)
	if err != nil {
		return 0, nil, err
	}
	switch {
	case spot.there && spot.old == any(s.Value.Reveal()):
		return Same, d, nil
	case !d.holds(spot, s.Value.Reveal()):
		return 0, nil, runtime.WithHint(fmt.Errorf("%s[%s]: a %s file cannot hold that value: it would read back as another", s.File.Name, s.Path, formatName(s.File.Format)),
			"encode it, in base64 say, or keep it in a binary file of its own")
	case missing:
		return NoFile, d, nil
	case spot.there:
		return Another, d, nil
	}
	return NoValue, d, nil
}

// with is the encrypted file with the value in it.
func (d *draft) with(s Setting) ([]byte, error) {
	spot, err := d.spotOf(s.Path)
	if err != nil {
		return nil, err
	}
	if len(d.tree.Branches) == 0 {
		d.tree.Branches = sops.TreeBranches{{}}
	}
	branch, err := put(d.tree.Branches[spot.document], spot.steps, s.Value.Reveal())
	if err != nil {
		return nil, fmt.Errorf("%s[%s]: %w", s.File.Name, s.Path, err)
	}
	d.tree.Branches[spot.document] = branch.(sops.TreeBranch)
	where := indices(branch, spot.steps)
	data, err := d.seal()
	if err != nil {
		return nil, err
	}
	if s.Value.Secret() && !encrypted(valueAt(d.tree.Branches[spot.document], where)) {
		return nil, runtime.WithHint(fmt.Errorf("%s[%s] is left in clear by the file's own rules, and a secret must not be", s.File.Name, s.Path),
			"give the key another name, or let encrypted_regex in %s have it", rulesFile)
	}
	return data, nil
}

// encrypted says whether a value of an encrypted file is, or has nothing to hide.
func encrypted(v any) bool {
	text, ok := v.(string)
	return ok && (text == "" || strings.HasPrefix(text, "ENC["))
}

// holds says whether the format can hold the value in clear, as sops edit and
// sops decrypt have it: JSON has no bytes that are no text, a dotenv file no
// backslash before an n.
func (d *draft) holds(s spot, value string) bool {
	if d.file.Format == Binary {
		return true
	}
	alone, err := put(nil, s.steps, value) // a map stands for each list
	if err != nil {
		return false
	}
	branches, err := guarded(func() (sops.TreeBranches, error) {
		plain, err := d.store.EmitPlainFile(sops.TreeBranches{alone.(sops.TreeBranch)})
		if err != nil {
			return nil, err
		}
		return d.store.LoadPlainFile(plain)
	})
	if err != nil || len(branches) != 1 {
		return false
	}
	where := indices(branches[0], s.steps)
	return len(where) == len(s.steps) && valueAt(branches[0], where) == any(value)
}
