package remote

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"infra/runtime"
)

// A Holder is who holds the lock of a host.
type Holder struct {
	Run     string    `json:"run"`     // the run's id
	User    string    `json:"user"`    // who started it
	Machine string    `json:"machine"` // and on which machine
	Plan    string    `json:"plan"`    // the plan's file
	Since   time.Time `json:"since"`

	// Token tells this holding of the lock from every other. Lock sets it.
	Token string `json:"-"`
}

// String is "crs on stibnite since 2026-11-23 00:12:04 (run ID of plans/x.star)".
func (h Holder) String() string {
	if h.User == "" && h.Machine == "" && h.Run == "" {
		return "a process that does not say whose it is"
	}
	text := orUnknown(h.User, "somebody") + " on " + orUnknown(h.Machine, "some machine")
	if !h.Since.IsZero() {
		text += " since " + h.Since.Local().Format(time.DateTime)
	}
	text += " (run " + orUnknown(h.Run, "unknown")
	if h.Plan != "" {
		text += " of " + h.Plan
	}
	return text + ")"
}

func orUnknown(s, unknown string) string {
	if s == "" {
		return unknown
	}
	return s
}

// A LockedError is the refusal of a lock that another holds. It is a
// [runtime.ErrLocked].
type LockedError struct {
	Host   string
	Holder Holder // without a token where nobody can tell who holds it

	held time.Duration
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is %v by %s", e.Host, runtime.ErrLocked, e.Holder)
}

// HeldBy is the id of the run that holds it, "" where that is not known.
func (e *LockedError) HeldBy() string { return e.Holder.Run }

// HeldFor is how long that one has held it at least, by a clock of the host that
// nobody sets; 0 where the host does not tell.
func (e *LockedError) HeldFor() time.Duration { return e.held }

// Unwrap is [runtime.ErrLocked].
func (e *LockedError) Unwrap() error { return runtime.ErrLocked }

// lockedError adds the advice.
func lockedError(host string, h Holder, held time.Duration) error {
	err := &LockedError{host, h, held}
	if h.Token == "" {
		return runtime.WithHint(err, "%s tells which process it is, where it is installed", lockOwner)
	}
	return runtime.WithHint(err, "wait with --wait 5m, or infra unlock %s --because \"...\"", host)
}

// lockOwner is the command that asks the kernel who holds a lock.
const lockOwner = "on the host, sudo fuser -v /tmp/infra.lock"

// wordLimit bounds each word of a holder, in bytes: a host reads 4096 of all.
const wordLimit = 400

// words is what a host keeps of a holder: one line.
func (h Holder) words() (string, error) {
	for _, s := range []*string{&h.Run, &h.User, &h.Machine, &h.Plan} {
		*s = printable(*s)
	}
	h.Since = h.Since.UTC().Truncate(time.Second)
	var line strings.Builder
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false) // six bytes for one
	if err := enc.Encode(h); err != nil {
		return "", fmt.Errorf("write down who locks: %w", err)
	}
	return strings.TrimSpace(line.String()), nil
}

// parseHolder reads "TOKEN PID WORDS", as a host reports them. Words that
// cannot be read leave the token, by which the lock can still be broken.
func parseHolder(line string) Holder {
	token, rest, _ := strings.Cut(line, " ")
	_, words, _ := strings.Cut(rest, " ")
	var h Holder
	if json.Unmarshal([]byte(words), &h) != nil {
		h = Holder{}
	}
	for _, s := range []*string{&h.Run, &h.User, &h.Machine, &h.Plan} {
		*s = printable(*s)
	}
	h.Token = printable(token)
	return h
}

// printable drops what would move a terminal's cursor, and the excess: words
// come from a place where every account of a host may write.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	for len(s) > wordLimit {
		runes := []rune(s)
		s = string(runes[:min(len(runes)-1, wordLimit)])
	}
	return s
}
