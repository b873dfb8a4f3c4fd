package gates

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/journal"
)

// A diary is a journal that is written by a machine whose clock is right.
type diary struct {
	t    *testing.T
	j    *journal.Journal
	root string
	runs int
}

// An entry is what was recorded of one run, which began at some hour and took one.
type entry struct {
	plan    string
	hour    float64
	call    journal.Call
	file    string
	status  runtime.Status // "" has not ended
	change  bool
	checks  string // "ok", "failed optional"; "-" for none
	resumed float64
	wall    time.Duration // by which the clock was wrong
	boot    string
}

func newDiary(t *testing.T) *diary {
	root := t.TempDir()
	j, err := journal.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return &diary{t: t, j: j, root: root}
}

func hours(n float64) time.Duration { return time.Duration(n * float64(time.Hour)) }

// instant is an hour after noon of the first day.
func instant(hour float64, boot string) clock.Instant {
	if boot == "" {
		boot = "a"
	}
	return clock.Instant{Wall: noon.Add(hours(hour)), Mark: clock.Mark{Boot: boot, Up: hours(1000 + hour)}}
}

func (d *diary) write(e entry) {
	d.runs++
	id, at := "r"+string(rune('0'+d.runs)), instant(e.hour, e.boot)
	e.call.Clock, at.Wall = at.Mark, at.Wall.Add(e.wall)
	options, err := json.Marshal(e.call)
	if err != nil {
		d.t.Fatal(err)
	}
	if e.file == "" {
		e.file = "plans/" + e.plan + ".star"
	}
	if e.checks == "" {
		e.checks = "ok"
	}
	d.record(runtime.Event{Kind: runtime.RunStarted, Run: id, Time: at.Wall, Start: &runtime.RunStart{
		Plan: &runtime.Plan{Name: e.plan}, File: e.file, Options: options}})
	if e.change {
		op := &runtime.OpEvent{ID: 1, Changed: true, Op: runtime.Op{Name: "x", Host: "host", Effect: runtime.Change}}
		d.record(runtime.Event{Kind: runtime.OpAsked, Run: id, Step: "s", Time: at.Wall, Op: op})
		d.record(runtime.Event{Kind: runtime.OpEnded, Run: id, Step: "s", Time: at.Wall, Op: op, Status: runtime.OK})
	}
	if e.resumed != 0 {
		d.record(runtime.Event{Kind: runtime.RunEnded, Run: id, Time: at.Wall, Took: time.Hour, Status: runtime.Failed})
		at = instant(e.resumed, e.boot)
		d.record(runtime.Event{Kind: runtime.RunResumed, Run: id, Time: at.Wall})
	}
	for i, status := range strings.Fields(e.checks) {
		if of := map[string]runtime.Status{"ok": runtime.OK, "failed": runtime.Failed, "optional": runtime.Warned}[status]; of != "" {
			d.record(runtime.Event{Kind: runtime.StepEnded, Run: id, Step: "c" + string(rune('1'+i)), Check: true, Time: at.Wall, Status: of})
		}
	}
	if e.status != "" {
		d.record(runtime.Event{Kind: runtime.RunEnded, Run: id, Time: at.Wall.Add(time.Hour), Took: time.Hour, Status: e.status})
	}
}

func (d *diary) record(e runtime.Event) {
	d.t.Helper()
	if err := d.j.Record(e); err != nil {
		d.t.Fatal(err)
	}
}

const day = 24 * time.Hour

const (
	ok     = runtime.OK
	failed = runtime.Failed
)

var verify, decided = journal.Call{Kind: journal.Observed}, journal.Call{Kind: journal.Decided}

func ran(hour float64) entry { return entry{plan: "p", hour: hour, status: ok, change: true} }

func saw(hour float64, status runtime.Status) entry {
	e := entry{plan: "p", hour: hour, status: status, call: verify}
	if status == failed {
		e.checks = "ok failed"
	}
	return e
}

func decide(hour float64, of string, yes bool, despite ...string) entry {
	call := decided
	call.Decision = &journal.Decision{Go: yes, Because: "reasons", By: "Ann", Despite: despite}
	return entry{plan: of, hour: hour, status: ok, call: call, checks: "-"}
}

var (
	done     = &runtime.Gate{Kind: runtime.GateDone, Of: "p"}
	isGo     = &runtime.Gate{Kind: runtime.GateGo, Of: "p"}
	approved = &runtime.Gate{Kind: runtime.GateApproved, Of: "window"}
	stable   = stableGate(0, runtime.Rate{Times: 1, Per: day})
	lenient  = stableGate(1, runtime.Rate{Times: 1, Per: day})
	alone    = stableGate(0, runtime.Rate{})
)

func stableGate(atMost int, atLeast runtime.Rate) *runtime.Gate {
	return &runtime.Gate{Kind: runtime.GateStable, Of: "p", For: 3 * day, AtMost: atMost, AtLeast: atLeast}
}

func TestStates(t *testing.T) {
	part, undo := journal.Call{Hosts: []string{"x"}}, journal.Call{Undoes: "r1"}
	for name, tt := range map[string]struct {
		gate    *runtime.Gate
		entries []entry
		at      float64
		boot    string
		open    bool
		why     string
		hint    string
		from    float64 // 0: it is not known
	}{
		"never run":                    {gate: done, why: "it was never run, and there is no plans/p.star", hint: `did you mean "q"?`},
		"done":                         {gate: done, entries: []entry{ran(0)}, at: 2, open: true, why: "run r1 ended well at 2026-03-01 13:00 UTC"},
		"a run that goes on":           {gate: done, entries: []entry{ran(0), {plan: "p", hour: 2, change: true}}, at: 3, why: "run r2 goes on since 2026-03-01 14:00 UTC, or was cut off", hint: "infra resume r2 goes on with one that was cut off"},
		"one that was cut off earlier": {gate: done, entries: []entry{{plan: "p", hour: 0, change: true}, ran(2)}, at: 4, open: true, why: "r2"},
		"failed after a change":        {gate: done, entries: []entry{ran(0), {plan: "p", hour: 2, change: true, status: failed}}, at: 4, why: "run r2 ended as failed at 2026-03-01 15:00 UTC, with changes", hint: "infra resume r2"},
		"failed before any":            {gate: done, entries: []entry{ran(0), {plan: "p", hour: 2, status: failed, checks: "-"}}, at: 4, open: true, why: "r1"},
		"a part alone":                 {gate: done, entries: []entry{{plan: "p", status: ok, change: true, call: part}}, at: 4, why: "run r1 was of a part of it", hint: "infra run plans/p.star"},
		"a part failed, and then well": {gate: done, entries: []entry{ran(0), {plan: "p", hour: 2, status: failed, change: true, call: part}, {plan: "p", hour: 4, status: ok, call: part}}, at: 6, why: "run r3 was of a part of it", hint: "infra run"},
		"undone":                       {gate: done, entries: []entry{ran(0), {plan: "p", hour: 2, status: ok, change: true, call: undo}}, at: 4, why: "run r1 was taken back by run r2", hint: "infra run plans/p.star"},
		"rolled back":                  {gate: done, entries: []entry{ran(0), {plan: "rollback host", file: "infra rollback host", hour: 2, status: ok, change: true}}, at: 4, why: "host was taken back to an earlier generation by run r2", hint: "infra run"},
		"another host rolled back":     {gate: done, entries: []entry{ran(0), {plan: "rollback x", file: "infra rollback x", hour: 2, status: ok, change: true}}, at: 4, open: true, why: "r1"},
		"resumed after another failed": {gate: done, entries: []entry{{plan: "p", hour: 0, status: ok, change: true, resumed: 5}}, at: 7, open: true, why: "run r1 ended well at 2026-03-01 18:00 UTC"},

		"not long enough":                     {gate: alone, entries: []entry{ran(0)}, at: 72.5, why: "well for 2d 23h of 3d, since run r1 ended at 2026-03-01 13:00 UTC", from: 73},
		"just long enough":                    {gate: alone, entries: []entry{ran(0)}, at: 73, open: true, why: "well for 3d, since 2026-03-01 13:00 UTC"},
		"of a plan that was never done":       {gate: alone, at: 1, why: "it was never run", hint: "did you mean", from: 73},
		"changed again":                       {gate: alone, entries: []entry{ran(0), {plan: "p", hour: 10, status: ok, change: true, call: part}}, at: 75, why: "since run r2 ended", from: 83},
		"nothing changed again":               {gate: alone, entries: []entry{ran(0), {plan: "p", hour: 10, status: ok}}, at: 75, open: true, why: "well for 3d 2h"},
		"observed":                            {gate: stable, entries: []entry{ran(0), saw(20, ok), saw(44, ok), saw(70, ok)}, at: 74, open: true, why: "well for 3d 1h"},
		"a run that changes nothing observes": {gate: stable, entries: []entry{ran(0), saw(20, ok), {plan: "p", hour: 50, status: ok}, saw(70, ok)}, at: 74, open: true, why: "3d"},
		"nobody looks":                        {gate: stable, entries: []entry{ran(0), saw(20, ok)}, at: 60, why: "nobody has looked for 1d 16h, since 2026-03-02 08:00 UTC, and it has to be observed 1/day, so no time of 3d has begun", hint: "infra verify looks now", from: 132},
		"nobody looked":                       {gate: stable, entries: []entry{ran(0), saw(40, ok), saw(70, ok)}, at: 74, why: "well for 1d 10h of 3d, since 2026-03-03 04:00 UTC: nobody looked for 1d 15h after 2026-03-01 13:00 UTC", hint: "infra verify", from: 112},
		"failing":                             {gate: stable, entries: []entry{ran(0), saw(20, ok), saw(40, failed)}, at: 42, why: "a required check fails, at 2026-03-03 04:00 UTC at last (infra log r3)", hint: "mend it", from: 114},
		"failed once":                         {gate: stable, entries: []entry{ran(0), saw(20, failed), saw(40, ok)}, at: 42, why: "well for 2h of 3d, since 2026-03-03 04:00 UTC: a required check failed at 2026-03-02 08:00 UTC (infra log r2)", from: 112},
		"a run whose checks failed":           {gate: stable, entries: []entry{ran(0), {plan: "p", hour: 20, status: failed, checks: "failed"}, saw(40, ok)}, at: 42, why: "a required check failed at 2026-03-02 09:00 UTC (infra log r2)", from: 112},
		"one failure is allowed":              {gate: lenient, entries: []entry{ran(0), saw(20, failed), saw(40, ok), saw(70, ok)}, at: 74, open: true, why: "well for 3d 1h"},
		"it is the last":                      {gate: lenient, entries: []entry{ran(0), saw(20, ok), saw(40, ok), saw(70, failed)}, at: 74, why: "a required check fails", hint: "mend it", from: 74},
		"two are not":                         {gate: lenient, entries: []entry{ran(0), saw(10, failed), saw(20, ok), saw(40, failed), saw(70, ok)}, at: 74, why: "a required check failed at 2026-03-01 22:00 UTC (infra log r2), and at most 1 may", from: 92},
		"seen while it was changed":           {gate: stable, entries: []entry{saw(0, failed), ran(2), saw(20, ok), saw(44, ok), saw(70, ok)}, at: 76, open: true, why: "3d"},
		"it has no checks":                    {gate: stable, entries: []entry{{plan: "p", status: ok, change: true, checks: "-"}}, at: 10, why: "well for 9h of 3d, since run r1 ended at 2026-03-01 13:00 UTC; p has no checks, so nothing observes it", hint: `give p checks = [...], or write stable("p", "3d", at_least = None)`, from: 73},

		"another boot":              {gate: alone, entries: []entry{ran(0)}, boot: "b", at: 73.05, why: "by the clocks of several machines or boots, which may differ by 5m", from: 73.05},
		"another boot, and later":   {gate: alone, entries: []entry{ran(0)}, boot: "b", at: 73.1, open: true, why: "3d"},
		"the clock was set":         {gate: alone, entries: []entry{{plan: "x", hour: -1, status: ok}, {plan: "p", status: ok, change: true, wall: -50 * day}}, at: 72, why: "well for 2d 23h", from: 73},
		"it went back at the boot":  {gate: alone, entries: []entry{{plan: "x", hour: -1, status: ok}, {plan: "p", status: ok, change: true, wall: -50 * day, boot: "b"}}, at: 90, why: "nobody knows when run r2 was: the clock of its machine was 49d 23h behind", hint: "set that clock right", from: 90},
		"and somebody looked since": {gate: alone, entries: []entry{{plan: "x", hour: -1, status: ok}, {plan: "p", status: ok, change: true, wall: -50 * day, boot: "b"}, saw(50, ok)}, at: 90, why: "well for 1d 16h of 3d, since 2026-03-03 14:00 UTC: nobody knows", hint: "set that clock right", from: 90},

		"all checks held":           {gate: isGo, entries: []entry{ran(0)}, at: 2, open: true, why: "GO: 1 check held at 2026-03-01 13:00 UTC (infra log r1)"},
		"and a person says no":      {gate: isGo, entries: []entry{ran(0), decide(2, "p", false)}, at: 4, why: "Ann decided no-go: reasons", hint: "infra decide p go"},
		"a required one failed":     {gate: isGo, entries: []entry{ran(0), saw(2, failed), decide(4, "p", true)}, at: 6, why: "NO-GO: c2 failed", hint: "mend it"},
		"an optional one":           {gate: isGo, entries: []entry{ran(0), {plan: "p", hour: 2, status: ok, call: verify, checks: "ok optional"}}, at: 4, why: "CONDITIONAL GO: c2 failed at 2026-03-01 15:00 UTC (infra log r2), and nobody has decided", hint: "infra decide p go"},
		"of which a person knew":    {gate: isGo, entries: []entry{ran(0), {plan: "p", hour: 2, status: ok, call: verify, checks: "ok optional"}, decide(4, "p", true, "c2")}, at: 6, open: true, why: "Ann decided go"},
		"of which a person did not": {gate: isGo, entries: []entry{ran(0), {plan: "p", hour: 2, status: ok, call: verify, checks: "optional optional"}, decide(4, "p", true, "c2")}, at: 6, why: "did not know of c1", hint: "infra decide"},
		"changed since in a part":   {gate: isGo, entries: []entry{ran(0), saw(2, ok), {plan: "p", hour: 4, status: ok, change: true, call: part}, {plan: "p", hour: 6, status: ok, call: part}}, at: 8, why: "nobody has looked at p since run r3", hint: "infra verify plans/p.star"},
		"rolled back since":         {gate: isGo, entries: []entry{ran(0), {plan: "rollback host", file: "infra rollback host", hour: 2, status: ok, change: true}}, at: 4, why: "nobody has looked at p since run r2", hint: "infra verify"},
		"no checks at all":          {gate: isGo, entries: []entry{{plan: "p", status: ok, checks: "-"}}, at: 4, why: "p has no checks that could say go", hint: `or wait for done("p")`},
		"nobody decided":            {gate: approved, entries: []entry{ran(0)}, at: 2, why: "nobody has decided on window", hint: "infra decide window go"},
		"a person said go":          {gate: approved, entries: []entry{decide(0, "window", false), decide(2, "window", true)}, at: 4, open: true, why: "Ann decided go: reasons"},
		"and then no-go":            {gate: approved, entries: []entry{decide(0, "window", true), decide(2, "window", false)}, at: 4, why: "Ann decided no-go", hint: "infra decide window go"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDiary(t)
			for _, e := range tt.entries {
				d.write(e)
			}
			ledger, err := journal.Read(d.root)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ledger.Close() }()
			record := At(instant(tt.at, tt.boot), ledger)
			record.Known, record.Nearest = []string{"q"}, func(string, []string) string { return "q" }
			states, err := record.States(&runtime.Plan{Name: "next", After: []*runtime.Gate{tt.gate}})
			if err != nil {
				t.Fatal(err)
			}
			got := states[0]
			if got.Open != tt.open || !strings.Contains(got.Why, tt.why) || !strings.Contains(got.Hint, tt.hint) || got.Open && got.Hint != "" {
				t.Errorf("open is %t: %s\nhint: %s", got.Open, got.Why, got.Hint)
			}
			from := time.Time{}
			if tt.from != 0 {
				from = noon.Add(hours(tt.from))
			}
			if !got.From.Equal(from) {
				t.Errorf("it can open at %s, want %s", got.From, from)
			}
		})
	}
}

// TestNothingRecorded: a project in which nothing was run yet has closed gates, too.
func TestNothingRecorded(t *testing.T) {
	states, err := At(instant(0, ""), nil).States(&runtime.Plan{After: []*runtime.Gate{done, isGo, approved, stable}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.Open || s.Why == "" || s.Hint == "" {
			t.Errorf("%s: %+v", s.Gate, s)
		}
	}
}
