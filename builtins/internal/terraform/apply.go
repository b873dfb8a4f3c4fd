package terraform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"infra/runtime"
)

// Apply applies the plan, and nothing else. Where somebody else has the lock of
// the state it waits. When ctx ends terraform is told so once, and has the
// time it needs to finish what it has begun and write its state; where that
// was all there was to do, it succeeded.
func (d *Dir) Apply(ctx context.Context, w io.Writer, s *Saved) (Applied, error) {
	log := newLog(w)
	r, err := d.prepare(ctx, log)
	if err != nil {
		return Applied{}, err
	}
	defer r.close()
	if err := os.MkdirAll(r.path, 0o755); err != nil {
		return Applied{}, fmt.Errorf("making the folder of the state: %w", err)
	}
	note, err := r.begin(s)
	if err != nil {
		return Applied{}, fmt.Errorf("noting what the apply of %s begins: %w", r.Path, err)
	}
	said, state, err := r.applyUnlocked(ctx, log, s, note)
	note.ends(state != nil && signalOf(state) != "", note.unsure(said, ctx.Err() != nil))
	note.close()
	if err != nil {
		return Applied{Done: said.done}, err
	}
	if err := r.keepLocks(); err != nil {
		log.printf("warning: keeping %s: %v", lockFile, err)
	}
	outputs, err := r.outputsOf(ctx, said)
	if err != nil {
		err = fmt.Errorf("everything was applied, but its outputs cannot be read: %w", err)
	}
	return Applied{Done: said.done, Outputs: outputs}, err
}

// applyUnlocked applies as soon as nobody else has the state's lock. The state
// of the process is nil where none ran, or the last could not begin.
func (r *ready) applyUnlocked(ctx context.Context, log *lineLog, s *Saved, note *begunNote) (*stream, *os.ProcessState, error) {
	until := time.Now().Add(r.lockTimeout())
	var told holder
	waits := &lockWait{ctx: ctx}
	defer waits.over()
	working := runtime.WithProgress(ctx, func(p runtime.Part) { waits.over(); runtime.Progress(ctx, p) })
	for pause := 250 * time.Millisecond; ; pause = min(2*pause, 4*time.Second) {
		said, state, err := r.applyOnce(working, log, s, note)
		if err != nil {
			return said, nil, r.failed("apply", ctx, err)
		}
		if state.Success() {
			return said, state, nil
		}
		holder, locked := said.lockedBy()
		if !locked || ctx.Err() != nil {
			return said, state, r.applyError(ctx, said, state, note.unsure(said, ctx.Err() != nil))
		}
		left := time.Until(until)
		if left <= 0 {
			return said, nil, r.lockError(holder)
		}
		if holder != told {
			log.printf("waiting for the lock of the state of %s: %s", r.Path, holder)
			waits.begins(holder)
			told = holder
		}
		select {
		case <-time.After(min(pause, left)):
		case <-ctx.Done():
			return said, nil, fmt.Errorf("waiting for the lock of the state of %s, %s: %w", r.Path, holder, context.Cause(ctx))
		}
	}
}

// A lockWait tells those who watch that a lock is waited for, until it is over.
type lockWait struct {
	ctx   context.Context
	since time.Time
}

func (l *lockWait) begins(h holder) {
	if l.since.IsZero() {
		l.since = time.Now()
	}
	runtime.Progress(l.ctx, runtime.Part{Name: "the lock of the state", Does: "is waited for", Detail: h.String()})
}

func (l *lockWait) over() {
	if !l.since.IsZero() {
		runtime.Progress(l.ctx, runtime.Part{Name: "the lock of the state", Does: "was waited for", Over: true, Took: time.Since(l.since)})
		l.since = time.Time{}
	}
}

func (r *ready) applyOnce(ctx context.Context, log *lineLog, s *Saved, note *begunNote) (*stream, *os.ProcessState, error) {
	nobody := &stream{log: log}
	private, err := newScratch()
	if err != nil {
		return nobody, nil, err
	}
	defer private.close()
	if err := os.WriteFile(private.planPath(), s.file, 0o600); err != nil {
		return nobody, nil, err
	}
	return r.run(ctx, log, task{
		args:    []string{"apply", "-json", "-input=false", "-no-color"},
		plan:    private.planPath(),
		vars:    s.ephemeral(),
		scratch: private,
		total:   s.operations(),
		started: note.runs,
	})
}

// ephemeral says whether the configuration has variables that are not in the
// plan, and so have to be given again.
func (s *Saved) ephemeral() bool {
	if s.Plan.Config == nil || s.Plan.Config.RootModule == nil {
		return false
	}
	for name := range s.Plan.Config.RootModule.Variables {
		if _, kept := s.Plan.Variables[name]; !kept {
			return true
		}
	}
	return false
}

// operations is how many things the plan does to resources.
func (s *Saved) operations() int {
	n := 0
	for _, c := range s.Plan.ResourceChanges {
		if c.Mode != tfjson.ManagedResourceMode || c.Change == nil {
			continue
		}
		for _, a := range c.Change.Actions {
			if a == tfjson.ActionCreate || a == tfjson.ActionUpdate || a == tfjson.ActionDelete {
				n++
			}
		}
	}
	return n
}

// outputsOf are the outputs as terraform has just said them, or as it says
// them when asked, which it has to be for sensitive ones.
func (r *ready) outputsOf(ctx context.Context, said *stream) (map[string]Output, error) {
	outputs := map[string]Output{}
	for name, o := range said.outputs {
		if o.Sensitive || o.Value == nil {
			return r.outputs(context.WithoutCancel(ctx)) // what is done is done: it is only read
		}
		outputs[name] = Output{Value: o.Value}
	}
	if said.outputs == nil {
		return r.outputs(context.WithoutCancel(ctx))
	}
	return outputs, nil
}

func (r *ready) lockError(h holder) error {
	err := fmt.Errorf("%s apply of %s: the state is locked, %s", r.named(), r.Path, h)
	if r.lockTimeout() > 0 {
		err = fmt.Errorf("%w; it was waited for, %s", err, r.lockTimeout())
	}
	if h.ID == "" {
		return err
	}
	return runtime.WithHint(err, "if nothing of that holder runs any more: TF_DATA_DIR=%s %s -chdir=%s force-unlock %s",
		r.data(), r.named(), r.work, h.ID)
}

// applyError says what terraform says, and how far it came.
func (r *ready) applyError(ctx context.Context, said *stream, state *os.ProcessState, unsure []creation) error {
	if said.has("Saved plan is stale") {
		return runtime.WithHint(fmt.Errorf("%s apply of %s: %w", r.named(), r.Path, ErrStale), "somebody else applied something; plan again")
	}
	what, why := "failed", said.said(r.shownDir(), howEnded(state))
	if ctx.Err() != nil {
		what = "was interrupted"
	}
	if s := signalOf(state); s != "" {
		what, why = "failed", strings.TrimSpace("terraform was ended by "+s+"\n"+problemsText(r.shownDir(), said.problems))
	}
	far := said.howFar(unsure)
	text := fmt.Sprintf("%s apply of %s %s: %s", r.named(), r.Path, what, why)
	switch {
	case far != "" && ctx.Err() != nil: // what somebody stopped is told in one line
		text = fmt.Sprintf("%s apply of %s %s; %s\n%s", r.named(), r.Path, what, strings.ReplaceAll(far, "\n", "; "), why)
	case far != "":
		text += "\n" + far
	}
	err := errors.New(runtime.Scrub(text))
	if ctx.Err() != nil {
		return &interrupted{err, context.Cause(ctx)}
	}
	return err
}

// interrupted is an error whose text says enough without its cause.
type interrupted struct {
	error
	cause error
}

func (i *interrupted) Unwrap() []error { return []error{i.error, i.cause} }

// howFar says what an apply that failed has done, and left half done.
func (s *stream) howFar(unsure []creation) string {
	var lines, done, failed, open, perhaps []string
	for _, d := range s.done {
		done = append(done, d.Address+" ("+doing[d.Action].ended+")")
	}
	for _, o := range s.failed {
		failed = append(failed, o.address+" ("+doing[o.action].begins+")")
	}
	for _, o := range s.begun {
		open = append(open, o.address+" ("+doing[o.action].begins+")")
	}
	for _, part := range []struct {
		title string
		list  []string
	}{{"done: ", done}, {"failed: ", failed}, {"in flight when it ended: ", open}} {
		if len(part.list) > 0 {
			slices.Sort(part.list)
			lines = append(lines, part.title+names(slices.Compact(part.list)))
		}
	}
	if len(lines) > 0 {
		lines = append(lines, "the state holds what was done, and the next plan goes on from there")
	}
	for _, c := range unsure {
		perhaps = append(perhaps, c.Address)
	}
	if len(perhaps) > 0 {
		lines = append(lines, "it is not known whether this was made, and the next plan looks for it: "+names(perhaps))
	}
	return strings.Join(lines, "\n")
}
