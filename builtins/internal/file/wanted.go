// Package file is what ssh.put and fs.write have in common: what a file shall
// be, and how a preview says in what another one differs.
package file

import (
	"fmt"
	"io/fs"
	"strconv"

	"infra/runtime"
)

// ParseMode reads the octal permissions of a file, "0644".
func ParseMode(s string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return 0, fmt.Errorf("mode: %q is no file mode: write \"0644\" or \"0600\"", s)
	}
	return fs.FileMode(n), nil
}

// Wanted is what a file shall be.
type Wanted struct {
	Path    string // as a preview names it
	Content runtime.Text
	Mode    fs.FileMode
}

// An Actual is the file that is there.
type Actual struct {
	Size int64
	Mode fs.FileMode
	Same bool // its content is the wanted one
	Read func() ([]byte, error)
}

// Creation is the line for a file that is not there yet.
func (w Wanted) Creation() string {
	what := fmt.Sprintf("%d bytes", w.size())
	if w.Content.Secret() {
		what = w.Content.String()
	}
	return fmt.Sprintf("new file: %s, mode %04o", what, w.Mode)
}

// Differences has an entry for everything in which the file that is there is
// not the wanted one.
func (w Wanted) Differences(a Actual) []string {
	var differs []string
	if !a.Same {
		differs = append(differs, w.contentDiff(a))
	}
	if have := a.Mode.Perm(); have != w.Mode {
		differs = append(differs, fmt.Sprintf("mode %04o -> %04o", have, w.Mode))
	}
	return differs
}

// worldReadable: a file that not everybody may read is not shown in a diff,
// because it may hold what no secret of this run knows of.
const worldReadable = 0o004

func (w Wanted) contentDiff(a Actual) string {
	sizes := fmt.Sprintf("content differs (%d -> %d bytes)", a.Size, w.size())
	switch {
	case w.Content.Secret():
		return "content -> " + w.Content.String()
	case a.Mode&worldReadable == 0 || w.Mode&worldReadable == 0:
		return sizes + "; not shown, the file is private"
	case a.Size > DiffLimit || w.size() > DiffLimit:
		return sizes
	}
	have, err := a.Read()
	if err != nil || !isText(have) || !isText([]byte(w.Content.Reveal())) {
		return sizes
	}
	return unified(w.Path, have, []byte(w.Content.Reveal()))
}

func (w Wanted) size() int64 { return int64(len(w.Content.Reveal())) }
