package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/engine"
	"infra/runtime/journal"
)

// A decision is kept as a run is, so that the journal lists it among the runs, chains
// it and prunes it like one. It is no run of a plan: last is never it.
type deciding struct {
	root string
	on   string
	what journal.Decision
	at   clock.Instant
}

// journaled keeps the decision, and says under which id. Its first event has all of
// it: it counts from then on.
func (d deciding) journaled() (run string, err error) {
	j, err := journal.Open(d.root)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	run = engine.NewID(d.at.Wall)
	options, _ := json.Marshal(journal.Call{Kind: journal.Decided, Clock: d.at.Mark, Decision: &d.what}) // strings and numbers
	start := &runtime.RunStart{File: "infra decide " + d.on, Options: options, Plan: &runtime.Plan{
		Name: d.on, Phase: -1, Title: fmt.Sprintf("%s, by %s: %s", wordOf(d.what.Go), d.what.By, d.what.Because),
	}}
	for _, e := range []runtime.Event{
		{Kind: runtime.RunStarted, Start: start, Text: version()},
		{Kind: runtime.RunEnded, Status: runtime.OK},
	} {
		e.Run, e.Time = run, d.at.Wall
		if err := j.Record(e); err != nil {
			return run, fmt.Errorf("keep the decision: %w", err)
		}
	}
	return run, nil
}

// A jsonDecided is the document that infra decide --json prints.
type jsonDecided struct {
	Schema   int      `json:"schema"`
	Decision jsonWord `json:"decision"`
}

// A jsonWord is what a person said.
type jsonWord struct {
	Run      string    `json:"run"`  // under which it is kept
	Name     string    `json:"name"` // a plan's, or a word
	Go       bool      `json:"go"`
	Because  string    `json:"because"`
	By       string    `json:"by"`
	At       time.Time `json:"at"`
	Verdict  string    `json:"verdict,omitempty"`  // of the plan's checks: GO, CONDITIONAL GO, NO-GO
	Evidence string    `json:"evidence,omitempty"` // the run that they were run in
	Despite  []string  `json:"despite,omitempty"`  // those that failed in it
}

func printDecision(w io.Writer, run string, d deciding, verdict string) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(jsonDecided{jsonSchema, jsonWord{
		run, d.on, d.what.Go, printable(d.what.Because), printable(d.what.By), d.at.Wall.UTC(), verdict, d.what.Evidence, d.what.Despite,
	}})
}
