package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"infra/runtime"
	"infra/runtime/preview"
)

// mayReload refuses a run of infra watch --apply that is not to begin with nobody
// asked, or whose preview is older than the files.
func (r *run) mayReload() error {
	if !r.opts.Reload {
		return nil
	}
	doc := r.opts.Reviewed
	if doc == nil || len(r.opts.Steps) == 0 || r.opts.Past != nil {
		return errors.New("a run of infra watch --apply is a new one, of some steps of a preview")
	}
	if err := doc.Outdated(r.root, r.file.Sources()); err != nil {
		return fmt.Errorf("%w: %w", runtime.ErrHeld, err)
	}
	if why := doc.Unattended(r.plan, r.opts.Steps); len(why) > 0 {
		return fmt.Errorf("%w: it is not carried out with nobody asked:\n- %s", runtime.ErrHeld, strings.Join(why, "\n- "))
	}
	r.opts.Ask, r.opts.Decide = nil, nil
	r.opts.MayDestroy = func(_ context.Context, op runtime.Op) error {
		return fmt.Errorf("%w: %s destroys, and infra watch --apply does not", runtime.ErrHeld, op.Name)
	}
	return nil
}

// reload holds what would change anything, in a step that is only there because
// others need it. The preview saw that it would not: it is asked again, since the
// run has the locks of the hosts by now.
func (r *run) reload(ctx context.Context, t *task, op runtime.Op) error {
	if !r.opts.Reload || op.Effect < runtime.Change || t.group.step.Reload {
		return nil
	}
	p := runtime.Prediction{Verdict: runtime.NotKnown}
	if op.Predict != nil && op.Needs == nil {
		var err error
		if p, err = op.Predict(ctx); err != nil {
			return fmt.Errorf("%s: %w", op.Name, err)
		}
	}
	if p.Verdict == runtime.NoChange {
		return nil
	}
	return runtime.WithHint(fmt.Errorf("%w: %s would change something by now (%s), and step %s is not marked reload = True",
		runtime.ErrHeld, preview.What(op), p.Verdict, t), "infra run carries it out")
}
