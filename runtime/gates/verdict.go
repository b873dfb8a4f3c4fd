package gates

import (
	"fmt"
	"strings"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// The verdicts that the checks of a plan come to.
const (
	Go          = "GO"             // every check held
	Conditional = "CONDITIONAL GO" // every required one
	NoGo        = "NO-GO"
)

// A Verdict is what the checks of a plan said when they were run last.
type Verdict struct {
	Kind   string // "" where nobody has looked, or not since the last change
	Why    string
	Hint   string            // what a person does where Kind is ""
	Run    string            // that ran the checks
	At     time.Time         // when
	Failed []string          // the checks that did not hold, with their hosts
	Word   *journal.Decision // the last that a person said; nil: none
}

// Verdict says what the checks of a plan came to, and what a person said to that.
func (r *Record) Verdict(plan string) (Verdict, error) {
	s, err := r.Standing(plan)
	if err != nil || r.ledger == nil {
		return Verdict{Why: "nobody has looked at " + plan, Hint: s.Hint}, err
	}
	word, err := r.decision(plan)
	v := Verdict{Word: word}
	if err != nil {
		return v, err
	}
	run, err := r.evidence(s)
	switch {
	case err != nil:
		return v, err
	case run == "" && s.Last == nil:
		v.Why, v.Hint = "nobody has looked at "+plan, s.Hint
	case run == "":
		v.Why, v.Hint = fmt.Sprintf("nobody has looked at %s since run %s", plan, s.Last.ID), "infra verify plans/"+plan+".star"
	default:
		err = v.read(r.ledger, run)
	}
	return v, err
}

// evidence is the newest run or observation whose checks were all run, unless a later
// run changed something.
func (r *Record) evidence(s *Standing) (run string, err error) {
	var seq int64
	err = r.ledger.Observations(s.Plan, func(o journal.Observation) bool {
		run, seq = o.Run, o.Seq
		return false
	})
	last := s.Last
	if err != nil || last == nil || last.Seq < seq && last.Resumed.IsZero() {
		return run, err
	}
	switch {
	case last.Call().Undoes == "" && last.Whole() && (last.Status == runtime.OK || last.FailedChecks > 0):
		return last.ID, nil
	case last.Changed > 0 || last.InFlight > 0:
		return "", nil
	}
	return run, nil
}

// read takes the verdict from the checks of a run.
func (v *Verdict) read(l *journal.Ledger, id string) error {
	run, err := l.Run(id)
	if err != nil {
		return err
	}
	var required []string
	checks := 0
	for _, s := range run.Steps {
		if !s.Check {
			continue
		}
		checks++
		name := strings.TrimSpace(s.Name + " " + s.Host)
		switch s.Status {
		case runtime.OK:
			continue
		case runtime.Warned:
		default:
			required = append(required, name)
		}
		v.Failed = append(v.Failed, name)
	}
	v.Run, v.At = run.ID, run.Ended
	seen := fmt.Sprintf("at %s (infra log %s)", at(run.Ended), run.ID)
	switch {
	case len(required) > 0:
		v.Kind, v.Why = NoGo, fmt.Sprintf("%s: %s failed %s", NoGo, strings.Join(required, ", "), seen)
	case len(v.Failed) > 0:
		v.Kind, v.Why = Conditional, fmt.Sprintf("%s: %s failed %s", Conditional, strings.Join(v.Failed, ", "), seen)
	default:
		v.Kind, v.Why = Go, fmt.Sprintf("%s: %s held %s", Go, count(checks, "check"), seen)
	}
	return nil
}

// decision is what a person said last about a plan, or what else has the name.
func (r *Record) decision(of string) (*journal.Decision, error) {
	if r.ledger == nil {
		return nil, nil
	}
	all, err := r.ledger.Decisions(of)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[len(all)-1].Call().Decision, nil
}

// said is who decided what, and why.
func said(d *journal.Decision) string {
	word := "no-go"
	if d.Go {
		word = "go"
	}
	return fmt.Sprintf("%s decided %s: %s", d.By, word, d.Because)
}

func at(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
