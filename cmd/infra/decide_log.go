package main

import (
	"fmt"
	"strings"

	"infra/runtime/journal"
)

// decided is how the list of runs shows a decision: the word of a person, coloured as
// a status is.
func (p palette) decided(d *journal.Decision) string {
	if d.Go {
		return p.good(wordOf(true))
	}
	return p.bad(wordOf(false))
}

// decision prints one.
func (v runView) decision(r journal.Run, d *journal.Decision) {
	v.line(0, v.bold("decision "+r.ID+" on "+printable(r.Plan))+": "+v.decided(d))
	v.line(0, "because "+hang(printable(d.Because), ""))
	v.line(0, fmt.Sprintf("by %s, %s (%s)", printable(d.By), r.Started.In(v.now.Location()).Format("2006-01-02 15:04:05 MST"), age(v.now.Sub(r.Started))))
	switch {
	case d.Evidence == "":
		v.line(0, v.dim("no checks were looked at"))
	case len(d.Despite) == 0:
		v.line(0, "all checks held that were looked at: infra log "+d.Evidence)
	default:
		v.line(0, "despite checks that failed: "+printable(strings.Join(d.Despite, ", "))+"; infra log "+d.Evidence+" shows them")
	}
	v.line(0, v.dim(fmt.Sprintf("recorded by %s on %s, infra %s", printable(r.User), printable(r.Host), r.Version)))
}

// jsonWordOf is the decision that a run is; nil for any other run.
func jsonWordOf(r journal.Run) *jsonWord {
	d := r.Call().Decision
	if d == nil {
		return nil
	}
	return &jsonWord{Run: r.ID, Name: r.Plan, Go: d.Go, Because: printable(d.Because), By: printable(d.By),
		At: r.Started.UTC(), Evidence: d.Evidence, Despite: d.Despite}
}
