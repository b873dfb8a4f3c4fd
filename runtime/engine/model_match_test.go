package engine

import (
	"fmt"
	"regexp"
	"strings"

	"infra/runtime"
)

// against compares what was shown to what happened. failed says that the run
// failed in a way which the dry run could not know.
func (e entry) against(run entry) (failed bool, err error) {
	d, r := e.op, run.op
	if (d == nil) != (r == nil) {
		return false, fmt.Errorf("the dry run showed %s, the run %s", e, run)
	}
	if d == nil {
		if !matches(e.text, run.text) {
			return false, fmt.Errorf("the dry run logged %q, the run %q", e.text, run.text)
		}
		return false, nil
	}
	if d.Op.Name != r.Op.Name || d.Op.Host != r.Op.Host || !matchesArgs(map[string]any(d.Op.Args), map[string]any(r.Op.Args)) {
		return false, fmt.Errorf("the dry run showed %s, the run did %s", e, run)
	}
	if run.err != nil {
		if e.err == nil && !e.open() {
			return false, fmt.Errorf("the dry run knew the answer to %s, the run failed: %w", e, run.err)
		}
		return e.err == nil, nil
	}
	if e.err != nil {
		return false, fmt.Errorf("%s failed in the dry run only: %w", run, e.err)
	}
	return false, e.verdict(run)
}

// endsAttempt: the function that attempt called has returned, or failed.
func (e entry) endsAttempt() bool { return e.op == nil && strings.HasPrefix(e.text, attemptEnds) }

// open says whether the dry run said that it does not know how this ends.
func (e entry) open() bool {
	return e.op != nil && (e.op.Op.Needs != nil || e.note == "offline" || e.note == "after the change" ||
		e.op.Prediction != nil && e.op.Prediction.Verdict != runtime.NoChange)
}

func (e entry) verdict(run entry) error {
	p := e.op.Prediction
	if p == nil && e.open() {
		return nil
	}
	want := p != nil && p.Verdict != runtime.NoChange // a read changes nothing
	switch {
	case p != nil && p.Verdict == runtime.NotKnown, p != nil && p.Verdict == runtime.WillDestroy:
		return nil
	case e.op.Op.Effect == runtime.Build && p == nil:
		return nil // it was built for the dry run
	case run.op.Changed != want:
		return fmt.Errorf("the dry run said %s, the run changed something: %v", e, run.op.Changed)
	}
	return nil
}

// afterAttempt leaves out what a dry run showed of the function that attempt
// called, after an operation in it that failed in the run only.
func afterAttempt(d []entry) []entry {
	depth := 0
	for i, e := range d {
		switch {
		case e.op != nil:
		case strings.HasPrefix(e.text, attemptBegins):
			depth++
		case strings.HasPrefix(e.text, attemptEnds) && depth > 0:
			depth--
		case strings.HasPrefix(e.text, attemptEnds):
			return d[i:]
		}
	}
	return nil
}

// unknownResult is how a step's result holds what is not known.
var unknownResult = regexp.MustCompile(`\{"\$unknown":"(\(known after [^()]*\))"\}`)

var placeholder = regexp.MustCompile(`\(known after [^()]*\)`)

// matches says whether text of a run could be what a dry run showed, with
// anything in place of what was not known.
func matches(dry, run string) bool {
	if dry == run {
		return true
	}
	parts := placeholder.Split(dry, -1)
	if len(parts) == 1 || !strings.HasPrefix(run, parts[0]) {
		return false
	}
	run = run[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		_, rest, found := strings.Cut(run, p)
		if !found {
			return false
		}
		run = rest
	}
	return strings.HasSuffix(run, parts[len(parts)-1])
}

// matchesArgs compares arguments: a placeholder stands for a whole leaf.
func matchesArgs(dry, run any) bool {
	if s, ok := dry.(string); ok && placeholder.FindString(s) == s && s != "" {
		return true
	}
	switch dry := dry.(type) {
	case map[string]any:
		run, ok := run.(map[string]any)
		if !ok || len(dry) != len(run) {
			return false
		}
		for name, v := range dry {
			if !matchesArgs(v, run[name]) {
				return false
			}
		}
		return true
	case []string:
		return matchesWords(dry, run)
	}
	return fmt.Sprint(dry) == fmt.Sprint(run)
}

// matchesWords compares lists; one placeholder may stand for a whole list.
func matchesWords(dry []string, any any) bool {
	run, ok := any.([]string)
	if len(dry) == 1 && placeholder.FindString(dry[0]) == dry[0] && dry[0] != "" {
		return ok
	}
	if !ok || len(dry) != len(run) {
		return false
	}
	for i := range dry {
		if !matchesArgs(dry[i], run[i]) {
			return false
		}
	}
	return true
}
