package sops

import (
	"context"
	"errors"
	"fmt"

	"github.com/getsops/sops/v3"

	"infra/runtime"
)

// A noKeyError says that nobody here can read a file.
type noKeyError struct {
	text     string
	wouldAsk bool // one that was not tried might
}

func (e *noKeyError) Error() string { return e.text }

// NoKey says whether a file was not decrypted because no key here can.
func NoKey(err error) bool { return errors.As(err, new(*noKeyError)) }

// failure says for whom the file is and where their keys were looked for.
func (s *keyService) failure(file string, m *sops.Metadata) error {
	if s.ctx.Err() != nil {
		return fmt.Errorf("decrypt %s: %w", file, context.Cause(s.ctx))
	}
	text := "no key here can decrypt " + file + "; it is encrypted for:"
	for i, group := range m.KeyGroups {
		for _, key := range group {
			text += "\n  "
			if len(m.KeyGroups) > 1 {
				text += fmt.Sprintf("group %d: ", i+1)
			}
			text += key.TypeToIdentifier() + " " + shorten(keyName(key))
		}
	}
	text += section("an age identity was looked for in:", s.searched)
	text += section("what went wrong:", s.problems)
	return runtime.WithHint(&noKeyError{text, s.wouldAsk},
		"set SOPS_AGE_KEY_FILE to a file with one of these keys, or have somebody who can read the file add yours: sops updatekeys %s", file)
}

func section[T any](title string, lines []T) string {
	if len(lines) == 0 {
		return ""
	}
	text := "\n" + title
	for _, l := range lines {
		text += fmt.Sprintf("\n  %v", l)
	}
	return text
}
