package sops

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/cmd/sops/common"
)

// A Problem is what is wrong with a file.
type Problem struct {
	Kind   string // one of the kinds below
	Detail string
}

// The kinds of problem.
const (
	Missing    = "missing"    // there is no file
	Damaged    = "damaged"    // it is no sops file, or not a whole one
	NoRule     = "no rule"    // .sops.yaml has no rule for it
	Recipients = "recipients" // it is not encrypted for those whom its rule names
	Clear      = "clear"      // a value is in clear that its rule would encrypt
	Unreadable = "unreadable" // no key here decrypts it
	Changed    = "changed"    // it was changed after it was encrypted
)

// Check lists what is wrong with a file: without a key, whether it is as the
// rules of .sops.yaml want it; with one, whether it is what was encrypted. An
// error means that this cannot be found out.
func (r *Reader) Check(ctx context.Context, f File, log io.Writer) ([]Problem, error) {
	rules, err := f.rules()
	if err != nil {
		return nil, err
	}
	if !f.exists() {
		return []Problem{{Missing, f.missing().Error()}}, nil
	}
	data, err := f.Read()
	if err != nil {
		return nil, err
	}
	tree, err := f.load(common.StoreForFormat(f.Format, rules.stores), data)
	if err != nil {
		return []Problem{{Damaged, err.Error()}}, nil
	}
	problems := f.against(rules, tree)
	_, err = r.Decrypt(ctx, f, data, log)
	switch {
	case err == nil:
		return problems, nil
	case NoKey(err):
		return append(problems, Problem{Unreadable, firstLine(err)}), nil
	case Tampered(err):
		return append(problems, Problem{Changed, err.Error()}), nil
	}
	return nil, err
}

// against lists in what a file is not as its rule wants it.
func (f File) against(rules rules, tree sops.Tree) []Problem {
	if rules.path == "" {
		return nil
	}
	if err := rules.mustHave(f); err != nil {
		return []Problem{{NoRule, err.Error()}}
	}
	var problems []Problem
	add := func(kind, format string, args ...any) {
		problems = append(problems, Problem{kind, fmt.Sprintf(format, args...)})
	}
	missing, extra := differ(tree.Metadata.KeyGroups, rules.rule.KeyGroups)
	for _, m := range missing {
		add(Recipients, "%s is not encrypted for %s, whom its rule names", f.Name, m)
	}
	for _, e := range extra {
		add(Recipients, "%s is encrypted for %s, whom its rule does not name", f.Name, e)
	}
	if have, want := tree.Metadata.ShamirThreshold, rules.threshold(); have != want {
		add(Recipients, "%s needs %d of its key groups, where its rule wants %d", f.Name, have, want)
	}
	for _, path := range f.inClear(rules, tree) {
		add(Clear, "%s[%s] is in clear, where its rule would encrypt it", f.Name, path)
	}
	return problems
}

// inClear are the values that the rule would encrypt and that are not.
func (f File) inClear(rules rules, tree sops.Tree) []string {
	if f.Format == Binary {
		return nil
	}
	chosen := tree.Metadata
	choose(&chosen, rules.rule)
	before, after, err := f.selected(tree, tree.Metadata, chosen)
	if err != nil {
		return nil // the rest of the check says more
	}
	return minus(after, before)
}

// String is the recipient as a person knows it.
func (r Recipient) String() string { return r.Kind + " " + shorten(r.Name) }

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimSuffix(line, "; it is encrypted for:")
}
