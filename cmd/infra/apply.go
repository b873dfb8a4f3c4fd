package main

import (
	"errors"

	"infra/runtime"
	"infra/runtime/engine"
	saved "infra/runtime/preview"
)

// An applied is what infra watch --apply made of a preview.
type applied struct {
	why   []string       // nothing was carried out: what a person sees to, or leaves
	stale bool           // nothing was, since files were edited: another preview comes
	out   engine.Outcome // how the run ended; the zero one where none was begun
}

// apply carries out the steps that differ in now, a preview of the plan p, where
// that may be done with nobody asked, and returns when that run has ended: edits
// meanwhile end nothing, and the next preview comes upon them. The error says why it
// could not begin: a gate is closed, or another run has a lock. What a run did that
// failed is not taken back, also where the plan says so: nobody marked the undo.
func (s *session) apply(p *watchedPlan, now *saved.Document, steps []string, show func(runtime.Event)) (a applied, err error) {
	file, err := s.read(s.engine.Read, p.path)
	if err != nil && now.Outdated(s.root, now.Sources) != nil {
		a.stale = true
		return a, nil
	}
	if err != nil {
		return a, err
	}
	if a.why = now.Unattended(file.Plan, steps); len(a.why) > 0 {
		return a, nil
	}
	a.out, err = s.engine.Run(s.hard, file, s.applying(now, steps, show))
	if errors.Is(err, saved.ErrOutdated) {
		a.stale = true
		return a, nil
	}
	if a.out.Run != "" {
		p.applied.Ended(now, steps, err == nil && a.out.Status == runtime.OK)
	}
	return a, err
}

// applying are the options of such a run.
func (s *session) applying(now *saved.Document, steps []string, show func(runtime.Event)) engine.Options {
	of := *s
	of.flags.steps, of.flags.dryRun = steps, false
	opts := of.options()
	opts.Show, opts.Reload, opts.Reviewed = show, true, now
	return opts
}
