package engine

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"infra/runtime"
	"infra/runtime/interp"
)

// modelSeed is where random plans begin. Plan n of it is always the same plan,
// in the same world.
const modelSeed = 3

// allPlans is how many plans are dry-run and run.
const allPlans = 10_000

// modelPlans is that, or INFRA_PLANS. The race detector makes a plan cost eight times
// as much, and after some has nothing new to see: with it, it is a fifth of them.
func modelPlans() int {
	if n, err := strconv.Atoi(os.Getenv("INFRA_PLANS")); err == nil {
		return n
	}
	if raced() {
		return allPlans / 5
	}
	return allPlans
}

// raced says whether the tests have the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestADryRunDoesNotLie: each of thousands of random plans is dry-run and run
// in equal worlds. What the dry run shows, up to where it says that it does not
// know, is what the run does.
func TestADryRunDoesNotLie(t *testing.T) {
	// Thousands of small syntax trees make much garbage and hold little.
	defer debug.SetGCPercent(debug.SetGCPercent(500))
	m := &model{plans: modelPlans(), counts: map[string]int{}}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { m.work(t) })
	}
	wg.Wait()
	m.counts["lies"] = m.lies
	for _, what := range slices.Sorted(maps.Keys(m.counts)) {
		t.Logf("%7d %s", m.counts[what], what)
	}
	for what, least := range atLeast {
		if m.plans < allPlans {
			least = least * m.plans / allPlans / 2 // what is rare varies much among few
		}
		if m.counts[what] < least {
			t.Errorf("%d %s, want %d at least: the plans do not show what they should", m.counts[what], what, least)
		}
	}
}

// atLeast is what all of the plans must contain for the check to mean something.
var atLeast = map[string]int{
	"plans that were dry-run and run":              allPlans,
	"tasks previewed to the end":                   allPlans * 3 / 4,
	"operations compared":                          2 * allPlans,
	"lines compared":                               2 * allPlans,
	"operations with arguments that are not known": allPlans / 10,
	"reads after a change":                         allPlans / 10,
	"tasks in doubt":                               allPlans / 20,
	"operations foreseen within attempt":           allPlans / 100,
	"runs that failed where the dry run did not":   allPlans / 20,
	"stops at the condition of an if":              300,
	"stops at the condition of a comprehension":    100,
	"stops at the left side of and":                100,
	"stops at the left side of or":                 100,
	"stops at what a comprehension goes through":   100,
	"stops at what a for goes through":             50,
	"stops at what is unpacked":                    20,
	"stops at an index":                            100,
	"stops at a key":                               50,
	"stops at a bound of a slice":                  50,
	"stops at the function that is called":         50,
	"stops at a key of sorted":                     20,
	"stops at an operand of +=":                    20,
	"stops at what an element is assigned to":      20,
	"stops at what .append() alters":               20,
}

// A model is the check while it runs.
type model struct {
	plans  int // how many are to be run
	mu     sync.Mutex
	next   uint64 // plan
	tried  int    // plans that were run
	lies   int
	counts map[string]int
}

// take gives a worker its next plan.
func (m *model) take() (seed uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tried >= m.plans || m.lies >= 3 {
		return 0, false
	}
	m.tried++
	m.next++
	return m.next - 1, true
}

func (m *model) work(t *testing.T) {
	b := newBench(t)
	for {
		seed, ok := m.take()
		if !ok {
			return
		}
		dry, run, err := b.try(t, newPlan(seed).String(), seed)
		m.mu.Lock()
		if errors.As(err, new(errInvalid)) {
			m.tried-- // another one is run in its place
			m.counts["plans that cannot be read"]++
			if m.counts["plans that cannot be read"] > m.plans/20 {
				t.Errorf("too many plans cannot be read, the last because %s", err)
				m.lies = 3
			}
			m.mu.Unlock()
			continue
		}
		m.count(dry, run)
		if err != nil {
			m.lies++
		}
		m.mu.Unlock()
		if err != nil {
			b.report(t, seed, err)
		}
	}
}

// report shows the smallest plan with which the dry run still lies.
func (b *bench) report(t *testing.T, seed uint64, lie error) {
	small := b.shrink(t, newPlan(seed), seed)
	if _, _, err := b.try(t, small.String(), seed); err != nil {
		lie = err
	}
	t.Errorf("plan %d, jobs %d: %s\n%s", seed, optionsOf(seed).Jobs, lie, small)
}

func (m *model) count(dry, run *recording) {
	m.counts["plans that were dry-run and run"]++
	for id, d := range dry.tasks {
		switch {
		case dry.unknown(id.step):
			m.counts["tasks in doubt"]++
			continue
		case d.status == runtime.Stopped:
			m.counts["stops at "+d.stoppedAt()]++
		case d.status == runtime.OK:
			m.counts["tasks previewed to the end"]++
		}
		if r := run.tasks[id]; r != nil && r.status == runtime.Failed && d.status != runtime.Failed {
			m.counts["runs that failed where the dry run did not"]++
		}
		m.countEntries(d.entries)
	}
}

func (m *model) countEntries(entries []entry) {
	attempts := 0
	for _, e := range entries {
		switch {
		case e.endsAttempt():
			attempts--
		case e.op == nil && strings.HasPrefix(e.text, attemptBegins):
			attempts++
		case e.op == nil:
			m.counts["lines compared"]++
		default:
			m.countOp(e, attempts > 0)
		}
	}
}

func (m *model) countOp(e entry, attempted bool) {
	m.counts["operations compared"]++
	if e.op.Op.Needs != nil {
		m.counts["operations with arguments that are not known"]++
	}
	if e.note == "after the change" {
		m.counts["reads after a change"]++
	}
	if attempted && e.open() {
		m.counts["operations foreseen within attempt"]++
	}
}

// TestALyingDryRunIsFound: a dry run that does not look at one form of code, or
// forgets one thing about operations, is found out by the random plans.
func TestALyingDryRunIsFound(t *testing.T) {
	if raced() {
		t.Skip("nothing in it runs side by side that does not in TestADryRunDoesNotLie: it is run without the race detector")
	}
	lies := map[string]lie{
		"it forgets that arguments are not known":   {alter: func(op *runtime.Op) { op.Needs = nil }},
		"it forgets what was altered":               {alter: func(op *runtime.Op) { op.Alters = runtime.Nothing }},
		"it forgets what is looked at":              {alter: func(op *runtime.Op) { op.Looks = runtime.Nothing }},
		"it forgets that what it foresees may fail": {sure: true},
		"it looks at nothing":                       {without: "all"},
	}
	for _, form := range modelForms {
		lies["without "+form] = lie{without: form}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(500))
	b, honest := newBench(t), newBench(t)
	runs := map[uint64]*recording{}
	for _, name := range slices.Sorted(maps.Keys(lies)) {
		t.Run(name, func(t *testing.T) {
			b.lie = lies[name]
			if form := b.lie.without; form != "all" && form != "" {
				if _, there := interp.DryRunForms()[form]; !there {
					t.Fatalf("there is no form %q", form)
				}
			}
			seed, err := b.firstLie(t, honest, runs)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("found by plan %d", seed)
		})
	}
}

// modelForms are those whose removal is found soon.
var modelForms = []string{
	"if", "if else", "and", "or", "for", "for in comprehension", "if in comprehension", "==", "<", "%", "x[:]",
	"len()", "list()", "sorted()", "max()", "zip()", "dict.get()", "string.join()", "string.format()", "string.strip()", "string.find()", "json.encode()",
}

// firstLie returns the first plan that finds b's dry run out. runs are kept for
// the next one.
func (b *bench) firstLie(t *testing.T, honest *bench, runs map[uint64]*recording) (uint64, error) {
	for seed := range uint64(allPlans) {
		text := newPlan(seed).String()
		if _, done := runs[seed]; !done {
			runs[seed], _ = honest.run(t, text, seed) // nil where the plan cannot be read
		}
		dry, err := b.dryRun(t, text, seed)
		if err != nil || runs[seed] == nil {
			continue
		}
		if compare(dry, runs[seed]) == nil {
			continue
		}
		if truth, err := honest.dryRun(t, text, seed); err == nil && compare(truth, runs[seed]) == nil {
			return seed, nil
		}
	}
	return 0, fmt.Errorf("no plan of %d finds it", allPlans)
}
