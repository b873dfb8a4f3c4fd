package file

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"
)

// DiffLimit is the size up to which texts are compared line by line.
const DiffLimit = 64 << 10

// shownLines bounds what a preview prints of a diff.
const shownLines = 200

// unified is the unified diff of two texts.
func unified(oldName, newName string, old, new []byte) string {
	text := string(diff.Diff(oldName, old, newName, new))
	_, text, _ = strings.Cut(text, "\n") // the line "diff old new"
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if more := len(lines) - shownLines; more > 0 {
		lines = append(lines[:shownLines], fmt.Sprintf("… %d more lines", more))
	}
	return strings.Join(lines, "\n")
}

func isText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }
