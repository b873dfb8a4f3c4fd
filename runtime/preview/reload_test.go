package preview

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"infra/runtime"
)

// shown is a step as a preview shows it that has one operation.
func shown(name, host, content, verdict string) Step {
	return Step{Name: name, Host: host, Status: "ok", Operations: []Operation{
		{Name: "fs.write", Effect: "change", Verdict: verdict, Show: name, Args: Args{"content": content}, Pos: "a.star:1:1"}}}
}

// TestReload goes through the previews of one plan: what each changes is carried out.
func TestReload(t *testing.T) {
	elsewhere := shown("a", "", "1", "change")
	elsewhere.Operations[0].Pos = "a.star:9:9"
	failing := shown("a", "", "1", "change")
	failing.Status, failing.Why = "failed", "no"
	other := shown("a", "", "1", "change")
	other.Operations[0].Detail = []string{"another derivation"}
	type turn struct {
		steps []Step
		want  []string // to be carried out
		ends  string   // how that ends: "well", "badly"; "": it may not begin
		again bool
		still bool // nothing was edited
	}
	for _, tt := range []struct {
		name  string
		first []Step
		then  []turn
	}{
		{"nothing differs", []Step{shown("a", "", "1", "change")}, []turn{{steps: []Step{elsewhere}}}},
		{"what the first preview had to do is left", []Step{shown("a", "", "1", "change"), shown("b", "", "1", "change")}, []turn{
			{steps: []Step{shown("a", "", "1", "change"), shown("b", "", "2", "change")}, want: []string{"b"}}}},
		{"another detail", []Step{shown("a", "", "1", "change")}, []turn{{steps: []Step{other}, want: []string{"a"}}}},
		{"a step that could not be previewed", []Step{failing}, []turn{{steps: []Step{shown("a", "", "1", "change")}, want: []string{"a"}}}},
		{"an operation more", []Step{shown("a", "", "1", "change")}, []turn{{want: []string{"a"}, steps: []Step{
			{Name: "a", Status: "ok", Operations: slices.Concat(elsewhere.Operations, other.Operations)}}}}},
		{"a step more and one less", []Step{shown("a", "", "1", "change")}, []turn{{steps: []Step{shown("b", "", "1", "change")}, want: []string{"b"}}}},
		{"a host more", []Step{shown("a", "x", "1", "change")}, []turn{{steps: []Step{shown("a", "x", "1", "change"), shown("a", "y", "1", "change")}, want: []string{"a"}}}},
		{"two hosts are one step", []Step{shown("a", "x", "1", "no change"), shown("a", "y", "1", "no change")}, []turn{
			{steps: []Step{shown("a", "x", "2", "change"), shown("a", "y", "2", "change")}, want: []string{"a"}}}},
		{"nothing to do", []Step{shown("a", "", "1", "change")}, []turn{{steps: []Step{shown("a", "", "2", "no change")}}, {steps: []Step{shown("a", "", "2", "built")}}}},
		{"it is kept until it may begin", []Step{shown("a", "", "1", "no change")}, []turn{
			{steps: []Step{shown("a", "", "2", "change")}, want: []string{"a"}}, {steps: []Step{shown("a", "", "2", "change")}, want: []string{"a"}}}},
		{"once it went well, it is done", []Step{shown("a", "", "1", "change")}, []turn{
			{steps: []Step{shown("a", "", "2", "change")}, want: []string{"a"}, ends: "well"},
			{steps: []Step{shown("a", "", "2", "change")}}, // a command changes each time
			{steps: []Step{shown("a", "", "2", "no change")}},
			{steps: []Step{shown("a", "", "1", "change")}, want: []string{"a"}}}},
		{"what differs without an edit waits for one", []Step{shown("a", "", "1", "change")}, []turn{
			{steps: []Step{shown("a", "", "2", "change")}, still: true},
			{steps: []Step{shown("a", "", "2", "change")}, want: []string{"a"}}}},
		{"without an edit, too, what is done is done", []Step{shown("a", "", "1", "change")}, []turn{
			{steps: []Step{shown("a", "", "1", "no change")}, still: true},
			{steps: []Step{shown("a", "", "1", "change")}, want: []string{"a"}}}},
		{"what was edited meanwhile is not lost", []Step{shown("a", "", "1", "no change")}, []turn{
			{steps: []Step{shown("a", "", "2", "change")}, want: []string{"a"}, ends: "well"},
			{steps: []Step{shown("a", "", "3", "change")}, want: []string{"a"}}}},
		{"what went wrong is not tried again as it is", []Step{shown("a", "", "1", "no change"), shown("b", "", "1", "no change")}, []turn{
			{steps: []Step{shown("a", "", "2", "change"), shown("b", "", "2", "change")}, want: []string{"a", "b"}, ends: "badly"},
			{steps: []Step{shown("a", "", "2", "change"), shown("b", "", "2", "change")}, want: []string{"a", "b"}, again: true},
			{steps: []Step{shown("a", "", "3", "change"), shown("b", "", "2", "change")}, want: []string{"a", "b"}, ends: "well"},
			{steps: []Step{shown("a", "", "2", "change"), shown("b", "", "2", "change")}, want: []string{"a"}}}},
		{"what went wrong is tried again when something went well since", []Step{shown("a", "", "1", "no change")}, []turn{
			{steps: []Step{shown("a", "", "2", "change")}, want: []string{"a"}, ends: "badly"},
			{steps: []Step{shown("a", "", "3", "change")}, want: []string{"a"}, ends: "well"},
			{steps: []Step{shown("a", "", "2", "change")}, want: []string{"a"}}}},
		{"a secret in a file shows as something to do", []Step{shown("a", "", "‹secret pin›", "change")}, []turn{
			{steps: []Step{shown("a", "", "‹secret pin›", "no change")}},
			{steps: []Step{shown("a", "", "‹secret pin›", "change")}, want: []string{"a"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReload(&Document{Steps: tt.first})
			for i, turn := range tt.then {
				now := &Document{Steps: turn.steps}
				if turn.still {
					r.Settle(now)
					continue
				}
				steps, again := r.Next(now)
				if !slices.Equal(steps, turn.want) || again != turn.again {
					t.Errorf("preview %d: it would carry out %q, again: %v", i+1, steps, again)
				}
				if turn.ends != "" {
					r.Ended(now, steps, turn.ends == "well")
				}
			}
		})
	}
}

func TestUnattended(t *testing.T) {
	needed := &runtime.Step{Name: "needed"}
	marked := &runtime.Step{Name: "marked", Reload: true, Needs: []*runtime.Step{needed}}
	last := &runtime.Step{Name: "last", Reload: true, Needs: []*runtime.Step{marked}}
	aside := &runtime.Step{Name: "aside"}
	person := &runtime.Step{Name: "person", Human: "Look"}
	asks := &runtime.Step{Name: "asks", Confirm: "Sure?", Needs: []*runtime.Step{person}}
	behind := &runtime.Step{Name: "behind", Reload: true, Needs: []*runtime.Step{asks}}
	plan := &runtime.Plan{Steps: []*runtime.Step{needed, marked, last, aside, person, asks, behind}}
	with := func(edit func(*Operation)) Step {
		s := shown("aside", "", "1", "change")
		edit(&s.Operations[0])
		return s
	}
	broken := shown("aside", "", "1", "no change")
	broken.Status, broken.Why, broken.Doubts = "stopped", "it is not known", []string{"which comes first is not fixed"}
	const notMarked = "would change something, and is not marked reload = True"
	for _, tt := range []struct {
		name  string
		steps []Step
		run   string
		want  []string
	}{
		{"what is marked", []Step{shown("marked", "", "1", "change"), shown("needed", "", "1", "no change")}, "marked", nil},
		{"what it needs is marked too", []Step{shown("marked", "", "1", "change"), shown("last", "", "1", "change")}, "last", nil},
		{"what was built already", []Step{shown("needed", "", "1", "built")}, "marked", nil},
		{"what is not of the run", []Step{shown("aside", "", "1", "change")}, "marked", nil},
		{"what is not marked", []Step{shown("aside", "", "1", "change")}, "aside", []string{"step aside " + notMarked}},
		{"on one of its hosts", []Step{shown("aside", "x", "1", "change"), shown("aside", "y", "1", "no change")}, "aside", []string{"step aside " + notMarked}},
		{"a need that is not marked", []Step{shown("needed", "", "1", "change")}, "last", []string{"step needed, which marked needs, " + notMarked}},
		{"a person", []Step{shown("person", "", "1", "change")}, "behind", []string{"step person, which asks needs, asks a person", "step asks, which behind needs, asks a person"}},
		{"not known, anywhere", []Step{with(func(o *Operation) { o.Verdict = "unknown" })}, "marked", []string{"step aside: it is not known what this would do: fs.write aside"}},
		{"of an infra to come", []Step{with(func(o *Operation) { o.Verdict = "perhaps" })}, "marked", []string{"step aside: it is not known what this would do: fs.write aside"}},
		{"a destroy, anywhere", []Step{with(func(o *Operation) { o.Verdict = "destroy" })}, "marked", []string{"step aside destroys: fs.write aside"}},
		{"a destroy that is called a change", []Step{with(func(o *Operation) { o.Effect = "destroy" })}, "marked", []string{"step aside destroys: fs.write aside"}},
		{"nothing is left to destroy", []Step{with(func(o *Operation) { o.Effect, o.Verdict = "destroy", "no change" })}, "marked", nil},
		{"but it would be tried", []Step{with(func(o *Operation) { o.Effect, o.Verdict = "destroy", "no change" })}, "aside", []string{"step aside destroys: fs.write aside"}},
		{"a failure that the plan catches", []Step{with(func(o *Operation) { o.Verdict, o.Error = "failed", "no route" })}, "marked", []string{"step aside: fs.write aside would fail: no route"}},
		{"a preview that stopped", []Step{broken}, "marked", []string{"step aside was not previewed to its end (stopped): it is not known", "step aside: which comes first is not fixed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := (&Document{Steps: tt.steps}).Unattended(plan, []string{tt.run}); !slices.Equal(got, tt.want) {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestOutdated(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		edit       func(root string, sources []runtime.Source) error
	}{
		{"as it was", "", func(string, []runtime.Source) error { return nil }},
		{"the plan's file", "a.star", func(root string, _ []runtime.Source) error {
			return os.WriteFile(filepath.Join(root, "a.star"), nil, 0o644)
		}},
		{"a file that it reads", "data", func(root string, _ []runtime.Source) error {
			return os.WriteFile(filepath.Join(root, "data"), nil, 0o644)
		}},
		{"one that is gone", "data", func(root string, _ []runtime.Source) error { return os.Remove(filepath.Join(root, "data")) }},
		{"between the two readings", "a.star was edited since", func(_ string, now []runtime.Source) error { now[0].SHA256 = "00"; return nil }},
		{"what was observed", "clan.machines() was edited since", func(_ string, now []runtime.Source) error { now[1].SHA256 = "00"; return nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			digests := map[string]string{}
			for _, name := range []string{"a.star", "data"} {
				file := filepath.Join(root, name)
				if err := os.WriteFile(file, []byte(name), 0o644); err != nil {
					t.Fatal(err)
				}
				digests[name], _ = digestOf(file)
			}
			d := &Document{Files: runtime.SourcesOf(map[string]string{"data": digests["data"]}),
				Sources: runtime.SourcesOf(map[string]string{"a.star": digests["a.star"], "clan.machines()": "11"})}
			now := slices.Clone(d.Sources)
			if err := tt.edit(root, now); err != nil {
				t.Fatal(err)
			}
			err := d.Outdated(root, now)
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrOutdated) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
}
