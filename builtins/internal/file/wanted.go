// Package file is what ssh.put and fs.write have in common: what a file shall
// be, and how a preview says in what another one differs; and by which names a
// file of this machine is known.
package file

import (
	"crypto/sha256"
	"encoding/hex"
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

// Digest is the SHA-256 of a content, in hexadecimal.
func Digest[T string | []byte](content T) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// Wanted is what a file shall be.
type Wanted struct {
	Path    string // as a preview names it
	Content runtime.Text
	Digest  string // of the content; "" where nobody has worked it out
	Mode    fs.FileMode
	Owner   string // "" is the one who writes it
}

// An Actual is the file that is there.
type Actual struct {
	Size   int64
	Mode   fs.FileMode
	Digest string // "" where it is longer than what was read of it
	Read   func() ([]byte, error)
}

// Creation says what a file that is not there yet will be: its content too,
// where that may be shown.
func (w Wanted) Creation() []string {
	said := []string{w.creation()}
	if w.showable() && w.size() > 0 {
		said = append(said, unified("/dev/null", w.Path, nil, []byte(w.Content.Reveal())))
	}
	return said
}

func (w Wanted) creation() string {
	what := w.Content.String()
	if !w.Content.Secret() {
		what = fmt.Sprintf("%d bytes", w.size())
		if w.public() && !w.showable() {
			what = w.measure()
		}
	}
	said := fmt.Sprintf("new file: %s, mode %04o", what, w.Mode)
	if w.Owner != "" {
		said += ", owner " + w.Owner
	}
	return said
}

// Differences has an entry for everything in which the file that is there is
// not the wanted one.
func (w Wanted) Differences(a Actual) []string {
	var differs []string
	if a.Digest != w.digest() {
		differs = append(differs, w.contentDiff(a))
	}
	if have := a.Mode.Perm(); have != w.Mode {
		differs = append(differs, fmt.Sprintf("mode %04o -> %04o", have, w.Mode))
	}
	return differs
}

// worldReadable: a file that not everybody may read is not shown in a diff,
// because it may hold what no secret of this run knows of. Nor is its digest,
// by which a guess could be proved.
const worldReadable = 0o004

func (w Wanted) contentDiff(a Actual) string {
	switch {
	case w.Content.Secret():
		return "content -> " + w.Content.String()
	case a.Mode&worldReadable == 0 || !w.public():
		return fmt.Sprintf("content differs (%d -> %d bytes); not shown, the file is private", a.Size, w.size())
	case a.Size <= DiffLimit && w.showable():
		if have, err := a.Read(); err == nil && isText(have) {
			return unified(w.Path, w.Path, have, []byte(w.Content.Reveal()))
		}
	}
	return "content: " + measure(a.Size, a.Digest) + " -> " + w.measure()
}

// public: everybody may read it, on its host and in a preview.
func (w Wanted) public() bool { return !w.Content.Secret() && w.Mode&worldReadable != 0 }

// showable: a preview may and can show it line by line.
func (w Wanted) showable() bool {
	return w.public() && w.size() <= DiffLimit && isText([]byte(w.Content.Reveal()))
}

func (w Wanted) size() int64 { return int64(len(w.Content.Reveal())) }

func (w Wanted) digest() string {
	if w.Digest != "" {
		return w.Digest
	}
	return Digest(w.Content.Reveal())
}

func (w Wanted) measure() string { return measure(w.size(), w.digest()) }

// measure is what is said of a content that is not shown.
func measure(size int64, digest string) string {
	if digest == "" {
		return fmt.Sprintf("%d bytes", size)
	}
	return fmt.Sprintf("%d bytes (sha256 %.12s)", size, digest)
}
