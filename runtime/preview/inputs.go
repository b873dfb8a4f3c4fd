package preview

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"infra/runtime"
)

// An Input is something on this machine that a preview looked at: another one
// would be made if it changed.
type Input struct {
	Path    string // absolute, as the operation named it
	Tree    bool   // a folder, with all that lies below it
	Missing bool   // there was nothing
	Digest  string // the SHA-256 of a file's content, in hex; "" where that is not known
}

// inputs are what the operations of one preview looked at on this machine, and
// what they would write there.
type inputs struct {
	root    string
	every   bool              // all that is looked at counts, not only what reads look at
	digests map[string]string // of files, by their paths without links: no file is read twice
	found   map[string]Input
	read    map[string]string // the digests of files of the project that reads looked at, by path from the root
	asked   map[string]bool   // the paths that reads looked at
	writes  map[string]bool   // the paths that other operations alter
}

func newInputs(root string) *inputs {
	return &inputs{root: root, digests: map[string]string{}, found: map[string]Input{}, read: map[string]string{},
		asked: map[string]bool{}, writes: map[string]bool{}}
}

// look takes down an operation, before it looks. What is made of a secret shows
// nowhere else: only its file tells that it changed.
func (in *inputs) look(op runtime.Op) {
	if op.Host == "" && op.Effect == runtime.Read {
		for _, name := range op.Looks {
			in.note(name)
		}
	}
	if !in.every || op.Needs != nil { // what needs what is not known is not carried out, and its paths may be names of that
		return
	}
	for _, name := range op.Here {
		in.see(name)
	}
	if op.Host != "" {
		return
	}
	if op.Looks == nil {
		in.see(in.root) // it may look at everything, and of that the project counts
	}
	for _, name := range op.Looks {
		in.see(name)
	}
	if op.Effect == runtime.Read {
		return
	}
	for _, name := range op.Alters {
		in.writes[name] = true
	}
}

// note keeps the digest of a file that a read is about to look at.
func (in *inputs) note(name string) {
	if in.asked[name] {
		return
	}
	in.asked[name] = true
	rel, err := filepath.Rel(in.root, name)
	if err != nil || !filepath.IsLocal(rel) || strings.HasPrefix(rel, ".infra"+string(filepath.Separator)) {
		return
	}
	if digest, err := in.digest(name); err == nil { // else it is no file, which the step itself meets
		in.read[filepath.ToSlash(rel)] = digest
	}
}

// see keeps what is at a path that counts. That one does not is remembered too.
func (in *inputs) see(name string) {
	if _, again := in.found[name]; again {
		return
	}
	info, err := os.Stat(name)
	seen := Input{Path: name, Tree: err == nil && info.IsDir(), Missing: errors.Is(err, fs.ErrNotExist)}
	switch {
	case Within(in.root, name) && !isFlake(name): // of a folder round the project, that counts
		seen = Input{Path: in.root, Tree: true}
	case !in.counts(name, seen.Tree):
		seen = Input{}
	case err == nil && info.Mode().IsRegular():
		seen.Digest, _ = in.digest(name) // what cannot be read can still change
	}
	in.found[name] = seen
}

// counts says whether what is at a path is the project's, or a local flake, and
// not what infra, git or nix keep for themselves.
func (in *inputs) counts(name string, tree bool) bool {
	rel, err := filepath.Rel(in.root, name)
	if err != nil || Within(name, storeDir) {
		return false
	}
	for elem := range strings.SplitSeq(rel, string(filepath.Separator)) {
		if elem == ".infra" || elem == ".git" {
			return false
		}
	}
	return filepath.IsLocal(rel) || tree && isFlake(name)
}

const storeDir = "/nix/store"

// Within says whether path is folder or lies below it. Both are absolute.
func Within(path, folder string) bool {
	folder = strings.TrimSuffix(folder, "/")
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// digest is that of the file at name, which is read once however it is named.
func (in *inputs) digest(name string) (string, error) {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", err
	}
	if known, ok := in.digests[real]; ok {
		return known, nil
	}
	digest, err := digestOf(real)
	if err == nil {
		in.digests[real] = digest
	}
	return digest, err
}

func digestOf(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", os.ErrInvalid
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// list is all that was looked at, but for what the plan writes.
func (in *inputs) list() []Input {
	written := map[string]bool{}
	for _, name := range in.written() {
		written[name] = true
	}
	found, folders := map[string]Input{}, map[string]bool{}
	for _, i := range in.found {
		if i.Path == "" || lies(i.Path, written) {
			continue
		}
		found[i.Path] = i
		if i.Tree {
			folders[i.Path] = true
		}
	}
	for _, dir := range in.localInputs(slices.Collect(maps.Keys(folders))) {
		found[dir], folders[dir] = Input{Path: dir, Tree: true}, true
	}
	var all []Input
	for _, i := range found {
		if !i.Tree || !lies(filepath.Dir(i.Path), folders) { // a file has a digest, a folder adds nothing to the one that it lies in
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b Input) int { return cmp.Compare(a.Path, b.Path) })
	return all
}

// lies says whether a path is one of folders or lies below one.
func lies(path string, folders map[string]bool) bool {
	for {
		if folders[path] {
			return true
		}
		up := filepath.Dir(path)
		if up == path {
			return false
		}
		path = up
	}
}

// written are the paths that the plan alters in the project. A folder that reads
// look at as such, one of terraform say, holds what people write too, and is none.
func (in *inputs) written() []string {
	var paths []string
	for name := range in.writes {
		if name == in.root || !in.counts(name, false) || in.asked[name] && isFolder(name) {
			continue
		}
		paths = append(paths, name)
	}
	slices.Sort(paths)
	return paths
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
