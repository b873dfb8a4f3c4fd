package engine

import (
	"strings"
	"testing"

	"infra/runtime"
	"infra/runtime/journal"
)

// TestWhatAFailureTookBackIsDoneAnew: an operation that names what undoes it is
// answered from the journal only where that has not failed since.
func TestWhatAFailureTookBackIsDoneAnew(t *testing.T) {
	const asked = "copy arm activate confirm profile"
	for _, tt := range []struct {
		name, before string // operations that ended; "!" failed, "~" was in flight; "|" is a resume
		unfinished   bool
		anew         string // what is carried out now
	}{
		{"the confirmation failed", "copy arm activate confirm!", false, "arm activate confirm profile"},
		{"and again after a resume", "copy arm activate confirm! | arm activate confirm!", false, "arm activate confirm profile"},
		{"a resume was killed before the confirmation", "copy arm activate confirm! | arm activate", true, "confirm profile"},
		{"a resume was killed in the activation", "copy arm activate confirm! | arm activate~", true, "activate confirm profile"},
		{"a resume was killed while arming", "copy arm activate confirm! | arm~", true, "arm activate confirm profile"},
		{"a resume confirmed, and the profile failed", "copy arm activate confirm! | arm activate confirm profile!", false, "profile"},
		{"a resume began anew by itself, and was killed", "copy arm activate | confirm! arm activate~", true, "activate confirm profile"},
		{"and then confirmed it", "copy arm activate | confirm! arm activate confirm profile!", false, "profile"},
		{"killed before the confirmation", "copy arm activate", true, "confirm profile"},
		{"killed in the confirmation", "copy arm activate confirm~", true, "confirm profile"},
		{"the activation failed", "copy arm activate!", false, "activate confirm profile"},
		{"the profile failed", "copy arm activate confirm profile!", false, "profile"},
		{"the plan caught the failure, and went on", "copy arm activate confirm! profile", true, ""},
		{"nothing was begun", "", true, asked},
	} {
		t.Run(tt.name, func(t *testing.T) {
			past := journal.Step{Status: runtime.Failed}
			if tt.unfinished {
				past.Status = journal.Unfinished
			}
			for attempt, part := range strings.Split(tt.before, "|") {
				for _, word := range strings.Fields(part) {
					op := journal.Op{ID: len(past.Ops) + 1, Attempt: attempt + 1, Host: "h", Effect: "change", Args: []byte("{}"), Status: runtime.OK}
					op.Name = strings.TrimRight(word, "!~")
					switch {
					case strings.HasSuffix(word, "!"):
						op.Status = runtime.Failed
					case strings.HasSuffix(word, "~"):
						op.Status = journal.InFlight
					}
					past.Ops = append(past.Ops, op)
				}
			}
			rp, anew := replayOf(past, false), []string(nil)
			for _, name := range strings.Fields(asked) {
				op := runtime.Op{Name: name, Host: "h", Effect: runtime.Change, Repeatable: true, Args: runtime.Args{}}
				if name == "arm" {
					op.UndoneBy = "confirm"
				}
				if !rp.live {
					rp.skipUndone(op)
					was, err := rp.act(op)
					if err != nil {
						t.Fatal(err)
					}
					rp.live = was == nil
				}
				if rp.live {
					anew = append(anew, name)
				}
			}
			if got := strings.Join(anew, " "); got != tt.anew {
				t.Errorf("%q is carried out, want %q", got, tt.anew)
			}
		})
	}
}
