package main

import (
	"encoding/json"
	"io"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
	"infra/runtime/phases"
)

// A jsonStatus is the one document that infra status --json prints. Fields that do not
// apply are absent.
type jsonStatus struct {
	Schema   int           `json:"schema"`
	Time     string        `json:"time"`
	Plan     string        `json:"plan,omitempty"` // that is made of the phases
	Title    string        `json:"title,omitempty"`
	Phases   []jsonPhase   `json:"phases"`
	Warnings []jsonWarning `json:"warnings"`
	Problems []jsonUnread  `json:"problems,omitempty"`
}

// A jsonPhase is a phase, with what is known of it in depth where it was asked for.
type jsonPhase struct {
	Plan      string         `json:"plan"`
	Title     string         `json:"title,omitempty"`
	Phase     *int           `json:"phase,omitempty"`
	File      string         `json:"file"`
	State     phases.State   `json:"state"`
	Why       string         `json:"why,omitempty"`
	Hosts     []jsonHost     `json:"hosts"`
	Gates     []jsonGate     `json:"gates"`
	Earliest  string         `json:"earliest,omitempty"`
	Soak      *jsonSoak      `json:"soak,omitempty"`
	Last      *jsonLastRun   `json:"last_run,omitempty"`
	Done      *jsonLastRun   `json:"done_by,omitempty"`
	Undone    *jsonLastRun   `json:"taken_back_by,omitempty"`
	Observed  *jsonObserved  `json:"last_observation,omitempty"`
	Overrides []jsonOverride `json:"overrides,omitempty"`
	Next      string         `json:"next,omitempty"`

	Runs         []jsonLastRun  `json:"runs,omitempty"`
	Observations *jsonWindow    `json:"observations,omitempty"`
	Checks       []jsonCheckNow `json:"checks,omitempty"`
	Decisions    []jsonWord     `json:"decisions,omitempty"`
}

type jsonHost struct {
	Name  string       `json:"name"`
	State phases.State `json:"state"`
	Why   string       `json:"why,omitempty"`
}

type jsonSoak struct {
	Gate     string  `json:"gate"`
	Waiter   string  `json:"waiter"`
	Open     bool    `json:"open"`
	Since    string  `json:"since,omitempty"`
	SoakedMS int64   `json:"soaked_ms"`
	WantsMS  int64   `json:"wants_ms"`
	Part     float64 `json:"part"`
}

type jsonLastRun struct {
	ID      string         `json:"id"`
	Status  runtime.Status `json:"status"`
	Started string         `json:"started"`
	Ended   string         `json:"ended,omitempty"`
	Changed int            `json:"changed"`
	User    string         `json:"user"`
}

type jsonObserved struct {
	Run     string         `json:"run"`
	Time    string         `json:"time"`
	Status  runtime.Status `json:"status"`
	Verdict string         `json:"verdict,omitempty"`
	Failed  []string       `json:"failed,omitempty"`
	InRun   bool           `json:"in_run,omitempty"`
}

type jsonOverride struct {
	Gate    string `json:"gate"`
	Because string `json:"because"`
	By      string `json:"by"`
	Time    string `json:"time"`
	Run     string `json:"run"`
	InForce bool   `json:"in_force"`
}

type jsonWindow struct {
	From     string `json:"from"`
	Times    int    `json:"times"`
	Failed   int    `json:"failed"`
	Flapping int    `json:"flapping"`
	GapMS    int64  `json:"longest_gap_ms"`
	GapAfter string `json:"longest_gap_after,omitempty"`
	Cut      bool   `json:"cut,omitempty"`
}

type jsonCheckNow struct {
	Name     string         `json:"name"`
	Host     string         `json:"host,omitempty"`
	Required bool           `json:"required"`
	Gone     bool           `json:"gone,omitempty"`
	Status   runtime.Status `json:"status,omitempty"`
	Flapping bool           `json:"flapping,omitempty"`
	Why      string         `json:"why,omitempty"`
	Time     string         `json:"time,omitempty"`
	Since    string         `json:"since,omitempty"`
	AtLeast  bool           `json:"since_or_before,omitempty"`
	Run      string         `json:"run,omitempty"`
}

type jsonWarning struct {
	Plan string `json:"plan,omitempty"`
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

type jsonUnread struct {
	File    string `json:"file"`
	Message string `json:"message"`
}

// writeJSON prints a document for programs.
func writeJSON(w io.Writer, doc any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

func (s *standing) json() jsonStatus {
	doc := jsonStatus{Schema: jsonSchema, Time: rfc3339(s.view.Now.Wall), Phases: []jsonPhase{}, Warnings: []jsonWarning{}}
	if w := s.all.whole; w != nil {
		doc.Plan, doc.Title = w.Plan.Name, printable(w.Plan.Title)
	}
	for _, p := range s.view.Phases {
		if s.one != nil && p != s.one {
			continue
		}
		doc.Phases = append(doc.Phases, jsonPhaseOf(p))
	}
	if s.one != nil {
		doc.Phases[0].deepen(s.detail)
	}
	for _, w := range s.view.Warnings {
		if s.one == nil || w.Plan == "" || w.Plan == s.one.Plan.Name {
			doc.Warnings = append(doc.Warnings, jsonWarning{w.Plan, printable(w.Text), printable(w.Hint)})
		}
	}
	for _, u := range s.all.not {
		doc.Problems = append(doc.Problems, jsonUnread{u.file, firstProblem(u.err)})
	}
	return doc
}

func jsonPhaseOf(p *phases.Phase) jsonPhase {
	j := jsonPhase{
		Plan: p.Plan.Name, Title: printable(p.Plan.Title), File: p.File, State: p.State, Why: printable(p.Why),
		Hosts: []jsonHost{}, Gates: []jsonGate{}, Earliest: rfc3339(p.Earliest), Next: nextCommand(p),
		Last: jsonLastRunOf(p.Last), Done: jsonLastRunOf(p.Done), Undone: jsonLastRunOf(p.Undone),
	}
	if p.Plan.Phase >= 0 {
		j.Phase = &p.Plan.Phase
	}
	j.Gates = append(j.Gates, jsonGatesOf(p.Gates)...)
	for _, h := range p.Hosts {
		j.Hosts = append(j.Hosts, jsonHost{h.Name, h.State, printable(h.Why)})
	}
	if s := p.Soak; s != nil {
		j.Soak = &jsonSoak{s.Gate.Gate.Name(), s.Waiter, s.Gate.Open, rfc3339(s.Gate.Since), s.Gate.Soaked.Milliseconds(), s.Gate.Gate.For.Milliseconds(), s.Part()}
	}
	if o := p.Observed; o != nil {
		j.Observed = &jsonObserved{o.Run, rfc3339(o.At.Wall), o.Status, o.Verdict, printables(o.Failed), o.InRun}
	}
	for _, o := range p.Overrides {
		j.Overrides = append(j.Overrides, jsonOverride{o.Gate, printable(o.Because), printable(o.By), rfc3339(o.At), o.Run, o.InForce})
	}
	return j
}

// deepen adds what is known of a phase in depth.
func (j *jsonPhase) deepen(d *phases.Detail) {
	for _, r := range d.Runs {
		j.Runs = append(j.Runs, *jsonLastRunOf(&r))
	}
	w := d.Window
	if !w.From.IsZero() {
		j.Observations = &jsonWindow{rfc3339(w.From), w.Times, w.Failed, w.Flapping, w.Gap.Milliseconds(), rfc3339(w.GapAfter), w.Cut}
	}
	for _, c := range d.Checks {
		j.Checks = append(j.Checks, jsonCheckNow{c.Name, c.Host, c.Required, c.Gone, c.Status, c.Flapping, printable(c.Why), rfc3339(c.At), rfc3339(c.Since), c.AtLeast, c.Run})
	}
	for _, r := range d.Decisions {
		if said := r.Call().Decision; said != nil {
			j.Decisions = append(j.Decisions, jsonWord{r.ID, r.Plan, said.Go, printable(said.Because), printable(said.By), r.Started.UTC(), "", said.Evidence, printables(said.Despite)})
		}
	}
}

func jsonLastRunOf(r *journal.Run) *jsonLastRun {
	if r == nil {
		return nil
	}
	return &jsonLastRun{r.ID, r.Status, rfc3339(r.Started.Truncate(time.Second)), rfc3339(r.Ended), r.Changed, printable(r.User)}
}

func printables(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, printable(s))
	}
	return out
}
