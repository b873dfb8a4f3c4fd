package preview

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"

	"infra/runtime"
)

// A Reload decides what infra watch --apply carries out of the previews of one
// plan: the steps that are other ones than they were when it began, or when they
// were last carried out, and that have something to do. What the first preview
// has to do is left to infra run. It is not for several goroutines at once.
type Reload struct {
	was   map[string]Step
	tried []Step // that did not go well: the very same is not tried again
}

// NewReload begins with the first preview of a plan.
func NewReload(first *Document) *Reload {
	r := &Reload{was: map[string]Step{}}
	for _, s := range first.Steps {
		r.was[s.String()] = s
	}
	return r
}

// Settle takes note of a preview that no edit is the reason of: nothing is carried
// out after it, since a step that is another one each time would be for ever. What
// has nothing to do is as the plan wants it, and differs from then on by what it
// does later.
func (r *Reload) Settle(now *Document) {
	for _, s := range now.Steps {
		if !s.pending() {
			r.was[s.String()] = s
		}
	}
}

// Next returns the names of the steps to carry out after an edit, in the plan's
// order; none where nothing differs. again says that they went wrong as they are
// now. Every preview that came to its end is handed to it, or to Settle.
func (r *Reload) Next(now *Document) (steps []string, again bool) {
	r.Settle(now)
	for _, s := range now.Steps {
		if was, had := r.was[s.String()]; had && was.does(s) || !s.pending() {
			continue
		}
		if !slices.Contains(steps, s.Name) {
			steps = append(steps, s.Name)
		}
	}
	return steps, len(steps) > 0 && slices.EqualFunc(r.tried, now.of(steps), func(was, s Step) bool {
		return was.String() == s.String() && was.does(s)
	})
}

// Ended takes note of how the run of these steps of now ended.
func (r *Reload) Ended(now *Document, steps []string, well bool) {
	if !well {
		r.tried = now.of(steps)
		return
	}
	r.tried = nil
	for _, s := range now.of(steps) {
		r.was[s.String()] = s
	}
}

// of are the previews of some steps, on all their hosts.
func (d *Document) of(steps []string) []Step {
	var all []Step
	for _, s := range d.Steps {
		if slices.Contains(steps, s.Name) {
			all = append(all, s)
		}
	}
	return all
}

// pending says whether a run of the step would do something, or may.
func (s Step) pending() bool {
	return s.Status != string(runtime.OK) || slices.ContainsFunc(s.Operations, Operation.pending)
}

func (o Operation) pending() bool {
	return o.Verdict != runtime.NoChange.String() && o.Verdict != built
}

// built is the verdict of what the preview carried out.
const built = "built"

// does says whether two previews of a step would do the same, wherever in the
// file that is asked for, and however it is shown.
func (s Step) does(other Step) bool {
	return s.Status == other.Status && sameReason(s.Why, other.Why) && slices.EqualFunc(s.Operations, other.Operations, func(a, b Operation) bool {
		kind := kindOf(&a, &b)
		return kind == "" || kind == ShownChanged
	})
}

// Unattended says why the steps, with what they need, cannot be carried out with
// nobody asked: the whole preview is to be certain and to destroy nothing, and
// every step of the run that would change anything is to be one that may. A step
// that changes nothing hands its result on whether it is marked or not.
func (d *Document) Unattended(plan *runtime.Plan, steps []string) []string {
	why, run, pending := d.Unfit(), runOf(plan, steps), map[string]bool{}
	for _, s := range d.Steps {
		_, runs := run[s.Name]
		refuse := func(o Operation) bool { return o.uncertain() || runs && o.destroys() }
		if i := slices.IndexFunc(s.Operations, refuse); i >= 0 {
			why = append(why, s.uncertain(s.Operations[i]))
		}
		pending[s.Name] = pending[s.Name] || s.pending()
	}
	for _, s := range plan.Steps {
		by, ok := run[s.Name]
		switch {
		case !ok:
		case s.Human != "" || s.Confirm != "":
			why = append(why, fmt.Sprintf("step %s%s asks a person", s.Name, by))
		case pending[s.Name] && !s.Reload:
			why = append(why, fmt.Sprintf("step %s%s would change something, and is not marked reload = True", s.Name, by))
		}
	}
	return why
}

// uncertain operations are all but those that the preview knows to change
// something, or nothing.
func (o Operation) uncertain() bool {
	return o.pending() && (o.Verdict != runtime.WillChange.String() || o.destroys())
}

func (o Operation) destroys() bool { return o.Effect == runtime.Destroy.String() }

// uncertain says why an operation of the step is left to a person.
func (s Step) uncertain(o Operation) string {
	switch {
	case o.destroys() || o.Verdict == runtime.WillDestroy.String():
		return fmt.Sprintf("%s destroys: %s", s, o)
	case o.Error != "":
		return fmt.Sprintf("%s: %s would fail: %s", s, o, o.Error)
	}
	return fmt.Sprintf("%s: it is not known what this would do: %s", s, o)
}

// runOf are the steps that a run of some consists of. Of one that was not named
// it says which needs it.
func runOf(plan *runtime.Plan, steps []string) map[string]string {
	run := map[string]string{}
	for _, s := range slices.Backward(plan.Steps) { // needs stand before what needs them
		if slices.Contains(steps, s.Name) {
			run[s.Name] = ""
		}
		if _, ok := run[s.Name]; !ok {
			continue
		}
		for _, n := range s.Needs {
			if _, again := run[n.Name]; !again {
				run[n.Name] = ", which " + s.Name + " needs,"
			}
		}
	}
	return run
}

// ErrOutdated: files are not what a preview saw any more. There is another one
// to be made of them.
var ErrOutdated = errors.New("files were edited since the preview")

// Outdated returns [ErrOutdated] where the plan was read from something else than
// the preview was, or where that, or a file that the preview read, is another one
// by now.
func (d *Document) Outdated(root string, sources []runtime.Source) error {
	if !slices.Equal(d.Sources, sources) {
		found := &differences{}
		found.files(d.Sources, sources, "is loaded now, and was not", "is no longer loaded")
		return fmt.Errorf("%w: %q", ErrOutdated, found.found)
	}
	for _, f := range slices.Concat(d.Sources, d.Files) {
		if path.Ext(f.Path) != ".star" && !slices.Contains(d.Files, f) {
			continue // what was observed while the plan was read, no file
		}
		digest, err := digestOf(filepath.Join(root, filepath.FromSlash(f.Path)))
		if err != nil || digest != f.SHA256 {
			return fmt.Errorf("%w: %s", ErrOutdated, f.Path)
		}
	}
	return nil
}
