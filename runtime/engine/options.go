package engine

import (
	"context"
	"encoding/json"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/journal"
	"infra/runtime/preview"
)

// Options say how a plan is run.
type Options struct {
	Steps []string // only these steps and what they need; empty: all
	Hosts []string // only these hosts; empty: all of the plan
	Jobs  int      // steps that run at once, over all hosts; 0: 64

	// Reviewed holds the run to a preview: no step and no operation starts that
	// is not in it, but those that only look. nil holds it to nothing.
	Reviewed *preview.Document

	// Reload makes it a run of infra watch --apply, with nobody asked: of Steps, held
	// to Reviewed. What Steps need is carried out with them, as in any run of some
	// steps, so that the journal has all that resume, undo and the gates go by; but
	// a step that is not marked reload = True only hands its result on, and is held
	// where it would change anything. There are no checks, as with any Steps.
	Reload bool

	Offline bool // of a preview: what needs a host or the network is not asked
	Build   bool // of a preview: builds are carried out

	// Reads are answers of earlier previews, which a preview takes where they hold,
	// and adds its own to; nil keeps none. No run takes any.
	Reads *Reads

	// Past is a run that ended early, or never: it is gone on with. Accept goes
	// on although the plan's files changed since, and carries out what differs.
	Past     *journal.Run
	Accept   bool
	InFlight InFlight
	// Decide puts a question to a person which nobody may answer in advance.
	Decide func(ctx context.Context, question string) (yes bool, err error)

	// Did are steps that a person does, and has done: Decide is not asked about them.
	// Who says so is By, for the journal; nil: who calls infra.
	Did []string
	By  func(context.Context) string

	// TakeLock takes the lock of a host on the host itself; nil: there is none.
	// Wait is how long a lock that another run holds is waited for.
	TakeLock TakeLock
	Wait     time.Duration

	// Pause is the time between two tries of a check, where a plan is observed; 0: 2s.
	Pause time.Duration

	// Here says whether a host is the machine that we run on; nil: none is.
	Here func(ctx context.Context, h *runtime.Host) bool

	// Overrides are gates that a person passes although they are closed, and why, by
	// their names. Clock is what the gates go by; nil: the machine's.
	Overrides map[string]string
	Clock     func() clock.Instant

	// Options are how the run was called, as JSON, for a later Past.
	Options json.RawMessage

	// Stop ends the start of anything new. What runs gets Grace, then it is
	// ended too, as it is at once when the context of Run ends.
	Stop  context.Context
	Grace time.Duration

	// Ask puts a step's question to a person. An error wrapping
	// runtime.ErrHeld means that nobody is there.
	Ask func(ctx context.Context, question string) (yes bool, err error)

	// MayDestroy is asked before what cannot be taken back is carried out, and
	// refuses it by an error that wraps runtime.ErrHeld. nil refuses nothing.
	MayDestroy func(context.Context, runtime.Op) error

	// Rescue is called where a mistake of infra's in a step is about to end the process;
	// nil: there is nothing to be put right before.
	Rescue func()

	Show    func(runtime.Event) // is called for one event at a time
	Version string              // of infra, for the journal
}

// An Outcome is how a run ended.
type Outcome struct {
	Run    string // its id
	Status runtime.Status
	Totals runtime.Totals
	Took   time.Duration
}

// instant is this moment as the gates see it.
func (o *Options) instant() clock.Instant {
	if o.Clock == nil {
		return clock.Now()
	}
	return o.Clock()
}

// now is this moment as the journal has it.
func (o *Options) now() time.Time {
	if o.Clock == nil {
		return time.Now()
	}
	return o.Clock().Wall
}
