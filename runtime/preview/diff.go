package preview

import "slices"

// A Kind says what differs between two previews.
type Kind string

// The kinds of difference.
const (
	StepAdded        Kind = "step_added"
	StepRemoved      Kind = "step_removed"
	StepEnds         Kind = "step_ends"    // its preview ends otherwise
	StepDoubted      Kind = "step_doubted" // whether it comes first is doubted otherwise
	OperationAdded   Kind = "operation_added"
	OperationRemoved Kind = "operation_removed"
	OperationChanged Kind = "operation_changed" // it is done otherwise: with other arguments, or as another effect
	VerdictMoved     Kind = "verdict_moved"     // the same operation is foreseen to end otherwise
	DetailChanged    Kind = "detail_changed"    // and so are only the lines of what it does
	ShownChanged     Kind = "shown_changed"     // and so are only the words that it is shown with
)

// A Difference is one thing that is not the same in two previews of a plan.
type Difference struct {
	Kind Kind   `json:"kind"`
	Step string `json:"step"`
	Host string `json:"host,omitempty"` // of the step's fan-out

	Was *Operation `json:"was,omitempty"` // nil where it was added
	Now *Operation `json:"now,omitempty"` // nil where it was removed
	// The lines of the operations' details that differ, each side below the line
	// that they belong to.
	WasLines []string `json:"was_lines,omitempty"`
	NowLines []string `json:"now_lines,omitempty"`

	WasEnd *Ending `json:"was_end,omitempty"` // of the step; nil where it was added, and for an operation
	NowEnd *Ending `json:"now_end,omitempty"` // of the step; nil where it was removed, and for an operation

	Operations []Operation `json:"operations,omitempty"` // of a step that was added or removed
}

// An Ending is how the preview of a step ended.
type Ending struct {
	Status string   `json:"status"`
	Why    string   `json:"why,omitempty"`
	Doubts []string `json:"doubts,omitempty"`
}

// Diff returns what differs in the steps of two previews of a plan: in the order
// of the plan as it is now, and what was removed behind what it stood behind. Where
// in its file an operation is asked for is no difference. What is returned points
// into both documents.
func Diff(was, now *Document) []Difference {
	var found []Difference
	from, kept := pairSteps(was.Steps, now.Steps)
	next := 0 // of the steps that were
	removed := func(end int) {
		for ; next < end; next++ {
			if s := &was.Steps[next]; !kept[next] {
				found = append(found, Difference{Kind: StepRemoved, Step: s.Name, Host: s.Host, WasEnd: s.ending(), Operations: s.Operations})
			}
		}
	}
	for i := range now.Steps {
		s := &now.Steps[i]
		if from[i] < 0 {
			found = append(found, Difference{Kind: StepAdded, Step: s.Name, Host: s.Host, NowEnd: s.ending(), Operations: s.Operations})
			continue
		}
		removed(from[i])
		found = diffStep(found, &was.Steps[from[i]], s)
	}
	removed(len(was.Steps))
	return found
}

// pairSteps returns for each step where it was, or -1, and which of those that
// were are still there.
func pairSteps(was, now []Step) (from []int, kept []bool) {
	from, kept = make([]int, len(now)), make([]bool, len(was))
	var places map[place]int // made where a step is not at its old index
	for i, s := range now {
		from[i] = i
		if p := (place{s.Name, s.Host}); i >= len(was) || p != (place{was[i].Name, was[i].Host}) {
			if places == nil {
				places = indexSteps(was)
			}
			at, had := places[p]
			if from[i] = at; !had {
				from[i] = -1
				continue
			}
		}
		kept[from[i]] = true
	}
	return from, kept
}

func indexSteps(steps []Step) map[place]int {
	at := make(map[place]int, len(steps))
	for i, s := range steps {
		at[place{s.Name, s.Host}] = i
	}
	return at
}

func (s *Step) ending() *Ending { return &Ending{s.Status, s.Why, s.Doubts} }

// diffStep adds what differs in one step.
func diffStep(found []Difference, was, now *Step) []Difference {
	of := func(kind Kind) Difference { return Difference{Kind: kind, Step: now.Name, Host: now.Host} }
	ends := func(kind Kind) {
		d := of(kind)
		d.WasEnd, d.NowEnd = was.ending(), now.ending()
		found = append(found, d)
	}
	if was.Status != now.Status || !sameReason(was.Why, now.Why) {
		ends(StepEnds)
	}
	if !slices.EqualFunc(was.Doubts, now.Doubts, sameReason) {
		ends(StepDoubted)
	}
	align(was.Operations, now.Operations, func(was, now *Operation) {
		d := of(kindOf(was, now))
		if d.Kind == "" {
			return
		}
		if d.Was, d.Now = was, now; was != nil && now != nil && !sameLines(was.Detail, now.Detail) {
			d.WasLines, d.NowLines = apart(was.Detail, now.Detail)
		}
		found = append(found, d)
	})
	return found
}

// kindOf says how two operations that belong together differ; "" where they do
// not.
func kindOf(was, now *Operation) Kind {
	switch {
	case was == nil:
		return OperationAdded
	case now == nil:
		return OperationRemoved
	case !was.same(*now):
		return OperationChanged
	case was.Verdict != now.Verdict || !sameReason(was.Error, now.Error):
		return VerdictMoved
	case !sameLines(was.Detail, now.Detail):
		return DetailChanged
	case !sameText(was.Show, now.Show) || !sameText(was.Note, now.Note):
		return ShownChanged
	}
	return ""
}
