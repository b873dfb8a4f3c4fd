package gates

import (
	"fmt"
	"math"
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
		return Verdict{Why: "nobody has looked at " + plan, Hint: lookAt(s)}, err
	}
	word, err := r.decision(plan)
	v := Verdict{Word: word}
	if err != nil {
		return v, err
	}
	found, err := r.evidence(s)
	switch {
	case err != nil:
		return v, err
	case found.run != "":
		err = v.read(r.ledger, plan, found)
	case s.touched == nil:
		v.Why, v.Hint = "nobody has looked at "+plan, lookAt(s)
	case s.touched.Status == journal.Unfinished:
		v.Why, v.Hint = unfinished(s.touched, true)
	default:
		v.Why, v.Hint = fmt.Sprintf("nobody has looked at %s since run %s", plan, s.touched.ID), lookAt(s)
	}
	return v, err
}

// lookAt is how a person looks at a plan.
func lookAt(s *Standing) string {
	switch {
	case s == nil:
		return ""
	case s.Last == nil && s.Hint != "": // it may be that there is no such plan
		return s.Hint
	}
	return "infra verify plans/" + s.Plan + ".star"
}

// Evidence is that all checks of a plan were run.
type evidence struct {
	run   string // "": they were not, or not since the last change
	ended time.Time
}

// evidence is the newest run or observation whose checks were all run, unless a later
// run changed something.
func (r *Record) evidence(s *Standing) (evidence, error) {
	list, err := r.ledger.ObservedBefore(s.Plan, math.MaxInt64, 1)
	switch {
	case err != nil:
		return evidence{}, err
	case len(list) == 1 && list[0].Seq > s.after && (s.checked == nil || list[0].Seq > s.until):
		return evidence{list[0].Run, list[0].At.Wall.Add(list[0].Took)}, nil
	case s.checked != nil:
		return evidence{s.checked.ID, s.checked.Ended}, nil
	}
	return evidence{}, nil
}

// read takes the verdict from the checks of a run.
func (v *Verdict) read(l *journal.Ledger, plan string, e evidence) error {
	checks, err := l.Checks(e.run)
	if err != nil {
		return err
	}
	var required []string
	for _, c := range checks {
		name := strings.TrimSpace(c.Name + " " + c.Host)
		switch c.Status {
		case runtime.OK:
			continue
		case runtime.Warned:
		default:
			required = append(required, name)
		}
		v.Failed = append(v.Failed, name)
	}
	v.Run, v.At = e.run, e.ended
	seen := fmt.Sprintf("at %s (infra log %s)", at(e.ended), e.run)
	switch {
	case len(checks) == 0:
		v.Why = fmt.Sprintf("%s has no checks that could say go: run %s ran none", plan, e.run)
		v.Hint = fmt.Sprintf("give it checks = [...], or wait for done(%q) or approved(%q) instead", plan, plan)
	case len(required) > 0:
		v.Kind, v.Why = NoGo, fmt.Sprintf("%s: %s failed %s", NoGo, strings.Join(required, ", "), seen)
	case len(v.Failed) > 0:
		v.Kind, v.Why = Conditional, fmt.Sprintf("%s: %s failed %s", Conditional, strings.Join(v.Failed, ", "), seen)
	default:
		v.Kind, v.Why = Go, fmt.Sprintf("%s: %s held %s", Go, count(len(checks), "check"), seen)
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

func at(t time.Time) string { return runtime.FormatTime(t) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
