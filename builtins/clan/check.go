package clan

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"infra/builtins/internal/sops"
)

// A problem is one thing that is wrong with a var.
type problem struct {
	kind string
	variable
	path   string // the file or folder that shows it
	detail string
}

// The kinds of problem.
const (
	missing    = "missing"    // declared, and not there
	stale      = "stale"      // made by an earlier definition of its generator
	recipients = "recipients" // encrypted for others than it is to be
	unreadable = "unreadable" // no key here decrypts it
	damaged    = "damaged"    // changed after it was written, cut off, or a link that leads astray
	exposed    = "exposed"    // declared secret, and there in clear
	empty      = "empty"      // there is nothing in it
	badKey     = "key"        // a key.json that holds no usable key
)

// An opener decrypts what a secret's file holds.
type opener func(name string, data []byte) (string, error)

// A checker compares what is declared with what is in a repository. It starts
// no process, but for what open does.
type checker struct {
	repo *repository
	open opener // nil: nothing is decrypted

	problems []problem
	unopened int             // secrets that nobody could be asked about
	reported map[string]bool // key.json files and generators that were
	owners   map[string]string
}

// check returns all that is wrong, sorted by machine and var; shared vars come first.
func (c *checker) check(wanted map[string]wants) []problem {
	c.reported = map[string]bool{}
	for _, it := range itemsOf(wanted) {
		c.hash(it)
		c.item(it)
	}
	slices.SortStableFunc(c.problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.machine, b.machine), cmp.Compare(a.generator, b.generator), cmp.Compare(a.file, b.file))
	})
	return c.problems
}

// An item is a var with all that is declared of it.
type item struct {
	variable
	declared
	want     *string  // the hash of its generator's definition
	machines []string // that declare it: one, or for a shared var several
	groups   []string // that are given all of these machines' secrets
}

// itemsOf lists each var once, sorted.
func itemsOf(wanted map[string]wants) []item {
	byVar := map[variable]*item{}
	for _, machine := range slices.Sorted(maps.Keys(wanted)) {
		w := wanted[machine]
		for name, g := range w.Generators {
			of := machine
			if g.Share {
				of = ""
			}
			for file, d := range g.Files {
				v := variable{of, name, file}
				it := byVar[v]
				if it == nil {
					it = &item{variable: v, declared: d, want: g.ValidationHash}
					byVar[v] = it
				}
				it.Deploy = it.Deploy || d.Deploy
				if d.Deploy {
					it.machines = append(it.machines, machine)
				}
				it.groups = append(it.groups, w.DefaultGroups...)
			}
		}
	}
	items := make([]item, 0, len(byVar))
	for _, it := range byVar {
		items = append(items, *it)
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.dir(), b.dir()) })
	return items
}

func (c *checker) report(kind string, v variable, path, format string, args ...any) {
	c.problems = append(c.problems, problem{kind, v, path, fmt.Sprintf(format, args...)})
}

// hash compares a generator's hash, once for all its files. Where none of them
// is there, that says enough.
func (c *checker) hash(it item) {
	dir := it.generatorDir()
	if c.reported[dir] || !c.repo.exists(it.dir()) {
		return
	}
	c.reported[dir] = true
	of, file := variable{it.machine, it.generator, ""}, path.Join(dir, ".validation-hash")
	has, err := c.repo.hash(it.variable)
	want := ""
	if it.want != nil {
		want = *it.want
	}
	switch {
	case err != nil:
		c.report(damaged, of, file, "%s", err)
	case has != want && has == "":
		c.report(stale, of, file, "it was made before its generator had a validation, or by hand: %s is not there", file)
	case has != want:
		c.report(stale, of, file, "the definition of its generator changed since it was made")
	}
}

// item looks at one file of a generator.
func (c *checker) item(it item) {
	file, other := it.valueFile(), it.secretFile()
	if it.Secret {
		file, other = other, file
	}
	if it.Secret && c.repo.exists(other) {
		c.report(exposed, it.variable, other, "it is declared secret, and lies in clear in %s", other)
	}
	data, err := c.repo.read(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.repo.exists(other):
		if !it.Secret {
			c.report(missing, it.variable, file, "it is declared public, and there only as a secret: %s", other)
		}
	case errors.Is(err, fs.ErrNotExist):
		c.report(missing, it.variable, file, "%s is not there", file)
	case err != nil:
		c.report(damaged, it.variable, file, "%s %s", file, err)
	case it.Secret:
		c.secret(it, file, data)
	case len(data) == 0:
		c.report(empty, it.variable, file, "%s is empty", file)
	}
}

func (c *checker) secret(it item, file string, data []byte) {
	s, err := parseSealed(data)
	if err != nil {
		c.report(damaged, it.variable, file, "%s %s", file, err)
		return
	}
	if s.empty {
		c.report(empty, it.variable, file, "%s holds an empty value", file)
	}
	c.recipients(it, file, s.recipients)
	if c.open == nil {
		return
	}
	switch _, err := c.open(file, data); {
	case err == nil:
	case sops.WouldAsk(err):
		c.unopened++
	case sops.NoKey(err):
		c.report(unreadable, it.variable, file, "no key here decrypts %s", file)
	default:
		c.report(damaged, it.variable, file, "%s", err)
	}
}

// recipients compares for whom a secret is encrypted with those that its links,
// their groups and the declaration name.
func (c *checker) recipients(it item, file string, actual []string) {
	holders, certain := c.holders(it)
	want := map[string]string{}
	for _, h := range holders {
		k := c.repo.holds(h)
		if k.err != nil {
			certain = false
			c.badKey(h, k.err)
		}
		for _, key := range k.keys {
			want[normal(key)] = h.String()
		}
	}
	has := map[string]bool{}
	var extra, lacks []string
	for _, key := range actual {
		has[normal(key)] = true
		if _, ok := want[normal(key)]; !ok {
			extra = append(extra, c.owner(key))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !has[key] {
			lacks = append(lacks, want[key]+" ("+shorten(key)+")")
		}
	}
	slices.Sort(lacks)
	var said []string
	if len(lacks) > 0 {
		said = append(said, "it is not encrypted for "+strings.Join(lacks, ", "))
	}
	if len(extra) > 0 && certain { // of a key that cannot be read, nobody knows whose file it is in
		said = append(said, "it is encrypted for "+strings.Join(extra, ", ")+" too, whom nothing names")
	}
	if len(said) > 0 {
		c.report(recipients, it.variable, file, "%s", strings.Join(said, "; "))
	}
}

// holders are all whom a secret is for, and whether that is all certain.
func (c *checker) holders(it item) (all []holder, certain bool) {
	certain = true
	note := func(more []holder, err error) {
		all = append(all, more...)
		if err != nil {
			certain = false
			c.report(damaged, it.variable, it.dir(), "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	entries, err := c.repo.list(it.dir())
	note(nil, err)
	note(c.repo.linkedFrom(it.dir(), entries))
	names := slices.Clone(it.groups)
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == groups }) {
		linked, err := c.repo.links(path.Join(it.dir(), groups), "sops/"+groups)
		note(nil, err)
		names = append(names, linked...)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		g := c.repo.group(name)
		note(g.members, g.err)
	}
	for _, m := range it.machines {
		all = append(all, holder{machines, m})
	}
	return all, certain
}

// badKey reports a key.json once, and not for each secret that its owner is given.
func (c *checker) badKey(h holder, err error) {
	if c.reported[h.file()] {
		return
	}
	c.reported[h.file()] = true
	c.report(badKey, variable{}, h.file(), "%s", err)
}

// owner names a key that is one too many, by whose it is where that is known.
func (c *checker) owner(key string) string {
	if c.owners == nil {
		c.owners = map[string]string{}
		for _, kind := range []string{users, machines} {
			names, _ := c.repo.folders("sops/" + kind) // it only helps to name one
			for _, name := range names {
				h := holder{kind, name}
				for _, k := range c.repo.holds(h).keys {
					c.owners[normal(k)] = h.String()
				}
			}
		}
	}
	if who := c.owners[normal(key)]; who != "" {
		return who + " (" + shorten(key) + ")"
	}
	return shorten(key)
}

// normal writes a key as it can be compared: without an SSH key's comment, a
// fingerprint in capitals.
func normal(key string) string {
	if fingerprint.MatchString(key) {
		return strings.ToUpper(strings.TrimPrefix(key, "0x"))
	}
	if words := strings.Fields(key); len(words) > 2 {
		return words[0] + " " + words[1]
	}
	return key
}
