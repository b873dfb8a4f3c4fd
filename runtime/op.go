package runtime

import (
	"context"
	"io"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// Effect says what an operation does to the world. A builtin declares it once,
// where it is defined; policies decide by it.
type Effect uint8

// The effects, from harmless to final.
const (
	Read    Effect = iota // observes
	Build                 // only adds to a store or a cache
	Change                // alters, and can be undone or repeated
	Destroy               // cannot be taken back, or costs money
)

var effectNames = [...]string{"read", "build", "change", "destroy"}

// String returns the effect's word in the language's documentation.
func (e Effect) String() string { return effectNames[e] }

// MarshalText makes an effect its word in JSON.
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// An Op is one thing a plan asks of the world: what a dry run shows, what the
// journal keeps, what the engine carries out. The same value in all three.
type Op struct {
	Name   string          // "nix.copy"
	Host   string          // the host's name; "" is the machine infra runs on
	At     *Host           // the host as the operation reaches it; nil is as the plan declares it
	Effect Effect          //
	Args   Args            // canonical and free of secrets: the key by which a resumed run knows it again
	Show   string          // the line a person reads: the argv, or what is made of what
	Pos    syntax.Position // where the plan asked for it

	// Statement is from where it is called as a statement of its own, whose answer nobody
	// uses, and whose builtin looks at none: it may go [Ahead]. nil: the answer is waited for.
	Statement starlark.CallStack

	// Looks and Alters say what of its host the operation observes, be it by
	// Run or by Predict, and what it may alter: absolute paths, each with all
	// that lies below it. nil is everything, [Nothing] nothing. By them a
	// preview knows which answers a change that it did not make would alter.
	Looks, Alters []string
	// Beyond: it observes more than its host, the network say.
	Beyond bool
	// Here are paths of this machine that an operation on a host looks at too.
	Here []string
	// Flake: what it looks at here are flakes, of which plan files are no part
	// although they lie in the same folder.
	Flake bool
	// Same tells what else decides its answer apart from what does in another
	// operation of the same name: all arguments, with the values of secrets. Equal
	// texts are the same, but only within this process, which never shows one.
	// "" is of no other operation. nil is that too.
	Same func() string
	// Once: asked for a second time, with nothing altered between, it changes
	// nothing and answers the same.
	Once bool

	// About is how people call what it works on, where that is no host: what
	// they name to let it be destroyed.
	About string
	// Locks are names of what only one step at a time works on. The step has
	// them from its first operation that names them to its end.
	Locks []string

	// EndsHost: it ends the system that its host runs, as an installation does,
	// and with it the run's lock there. That is no reason to end the operation.
	EndsHost bool

	// Predict is what a dry run may honestly say. It may read the world and
	// must not alter it. A Read needs none: a dry run carries it out.
	Predict func(context.Context) (Prediction, error)

	// Human: a person carries it out, as Show says, and is asked whether they did.
	// There is no Run.
	Human bool

	// Run carries the operation out. What tools print goes to log as it
	// comes; the engine bounds, scrubs and keeps it.
	Run func(ctx context.Context, log io.Writer) (Result, error)

	// Repeatable: carried out a second time, it leaves the world as the first
	// time did. Nothing else is ever carried out twice without a person's word.
	Repeatable bool

	// UndoneBy names an operation of the same host, later in the step: where that
	// fails, it takes this one back, and all between the two. What resumes the run
	// then carries them out again.
	UndoneBy string

	// Settle finds out what became of the operation, where an earlier process
	// of the run ended, or lost sight of it, while it was in flight. nil:
	// nothing can tell.
	Settle Settle
	// Forget takes away what only Settle needs. It is called when the journal
	// has the operation's end, and may be called late, or never.
	Forget func(context.Context)

	// NotKnown makes what the plan gets from a preview that cannot know the
	// answer: nothing of it, or as much of it as is certain.
	NotKnown func() starlark.Value
	// Assumes is what of NotKnown, or of a prediction, the plan's author
	// assumes: "stdout is assumed". It is shown in brackets.
	Assumes string
	// Needs is not nil where arguments are not known yet, and says from where
	// they will come. A preview then neither runs nor predicts the operation.
	Needs *Unknown
}

// Nothing is the [Op.Looks] of what observes nothing, and the [Op.Alters] of
// what alters nothing.
var Nothing = []string{}

// Args are an operation's arguments by parameter name. They hold JSON's types
// only, so that encoding them gives the same bytes for the same operation.
type Args map[string]any

// A Result is what an operation answered.
type Result struct {
	Value   starlark.Value // what the plan gets; nil is None
	Changed bool           // whether the world is different now

	// Aside is for the builtin alone, which may not have it: it is not journaled.
	// Nobody alters it, since a later preview may get the same.
	Aside any
}

// A Prediction is what a dry run knows of an operation without carrying it out.
type Prediction struct {
	Verdict Verdict
	Value   starlark.Value // what the plan gets; fields not known yet are [Unknown]
	Detail  string         // a diff, or a list of what would happen; may be empty

	Aside any `json:"-"` // the [Result.Aside] of the preview
}

// A Verdict sums up a prediction.
type Verdict uint8

// The verdicts.
const (
	NoChange Verdict = iota
	WillChange
	WillDestroy
	NotKnown
)

var verdictNames = [...]string{"no change", "change", "destroy", "unknown"}

// String returns the verdict as a dry run prints it.
func (v Verdict) String() string { return verdictNames[v] }

// MarshalText makes a verdict its word in JSON.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Do is the only way from a plan to the world.
type Do func(context.Context, Op) (Result, error)
