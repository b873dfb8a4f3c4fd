package main

import (
	"fmt"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// A jsonVerify is what infra log --verify --json prints.
type jsonVerify struct {
	Whole   bool       `json:"whole"`
	Records int        `json:"records"`          // that were verified
	Pruned  int        `json:"pruned,omitempty"` // of runs that were removed
	Head    string     `json:"head,omitempty"`   // the end of the chain
	Broken  *jsonBreak `json:"broken,omitempty"`
}

// A jsonBreak is the first record that is not what was recorded.
type jsonBreak struct {
	Message string            `json:"message"`
	Record  int64             `json:"record,omitempty"`
	Event   runtime.EventKind `json:"event,omitempty"`
	Run     string            `json:"run,omitempty"`
	Step    string            `json:"step,omitempty"`
	Host    string            `json:"host,omitempty"`
	Check   bool              `json:"check,omitempty"`
	Op      int               `json:"operation,omitempty"`
	Time    time.Time         `json:"time,omitzero"`
}

// logVerify says whether the journal is what was recorded.
func (a *app) logVerify(ledger *journal.Ledger, f logFlags) error {
	proof, err := ledger.Verify()
	if err != nil {
		return err
	}
	if f.json {
		if err := printJSON(a.stdout, jsonVerified(proof)); err != nil {
			return err
		}
	}
	if b := proof.Broken; b != nil {
		return exit{exitFailed, runtime.WithHint(fmt.Errorf("the journal is not what was recorded: %s", b),
			"%s before it are whole; compare with a backup of .infra", count(proof.Entries, "record"))}
	}
	if f.json {
		return nil
	}
	p := palette(wantsColor(a.stdout, a.getenv))
	what := p.good("whole") + ": " + count(proof.Entries, "record")
	if proof.Pruned > 0 {
		what += fmt.Sprintf(", %d of them of pruned runs", proof.Pruned)
	}
	fmt.Fprintln(a.stdout, what)
	fmt.Fprintln(a.stdout, p.dim("head: "+proof.Head))
	return nil
}

func jsonVerified(p journal.Proof) jsonLog {
	v := &jsonVerify{Whole: p.Broken == nil, Records: p.Entries, Pruned: p.Pruned, Head: p.Head}
	if b := p.Broken; b != nil {
		v.Broken = &jsonBreak{b.What, b.Entry, b.Kind, b.Run, b.Step, b.Host, b.Check, b.Op, b.Time}
	}
	return jsonLog{Schema: jsonSchema, Verify: v}
}
