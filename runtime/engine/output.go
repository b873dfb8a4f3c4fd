package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"infra/runtime"
)

// An output takes what the tools of one operation print: it keeps it in the
// run's folder, scrubbed and up to a limit, and shows its last line.
type output struct {
	run  *run
	task *task
	op   *runtime.OpEvent
	note string // what a preview adds to the operation

	resumed bool // an earlier process began the operation

	mu    sync.Mutex // a tool's stdout and stderr come from two goroutines
	file  *os.File   // nil until something is printed
	scrub *runtime.ScrubWriter
	kept  int64
	shown time.Time
}

const (
	// maxKept bounds what is kept of one operation's output.
	maxKept = 64 << 20
	// showEvery bounds how often a running operation's last line is shown.
	showEvery = 100 * time.Millisecond
)

type outputKey struct{}

func withOutput(ctx context.Context, o *output) context.Context {
	return context.WithValue(ctx, outputKey{}, o)
}

func outputOf(ctx context.Context) *output { return ctx.Value(outputKey{}).(*output) }

// Write implements io.Writer. It never fails: output that cannot be kept must
// not end a half-done operation.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.scrub == nil {
		o.scrub = runtime.NewScrubWriter(keeper{o})
	}
	_, _ = o.scrub.Write(p)
	return len(p), nil
}

// keeper receives scrubbed text.
type keeper struct{ *output }

func (k keeper) Write(p []byte) (int, error) {
	k.show(p)
	if k.file == nil && k.run.journal != nil {
		k.open()
	}
	if k.file != nil && k.kept < maxKept {
		n, _ := k.file.Write(p[:min(len(p), int(maxKept-k.kept))])
		k.kept += int64(n)
		if k.kept >= maxKept {
			fmt.Fprintf(k.file, "\n[infra keeps the first %d MiB]\n", maxKept>>20)
		}
	}
	return len(p), nil
}

// open makes the operation's file in the run's folder.
func (o *output) open() {
	name := fmt.Sprintf("%04d-%s.log", o.op.ID, strings.ReplaceAll(o.op.Op.Name, ".", "-"))
	path := filepath.Join(o.run.journal.Folder(o.run.id), name)
	flags := os.O_CREATE | os.O_WRONLY | os.O_EXCL
	if o.resumed {
		flags = os.O_CREATE | os.O_WRONLY | os.O_TRUNC // what it printed before is printed again
	}
	if f, err := os.OpenFile(path, flags, 0o600); err == nil {
		o.file, o.op.Output = f, name
	}
}

// show tells who watches the last line, now and then.
func (o *output) show(p []byte) {
	now := time.Now()
	if now.Sub(o.shown) < showEvery {
		return
	}
	o.shown = now
	lines := strings.Split(strings.TrimRight(string(p), "\r\n"), "\n")
	e := o.task.event(runtime.OpOutput)
	e.Op, e.Text = o.op, strings.TrimSpace(lines[len(lines)-1])
	o.run.show.Lock()
	defer o.run.show.Unlock()
	if o.run.opts.Show != nil {
		e.Time, e.Run = now, o.run.id
		o.run.opts.Show(e)
	}
}

// part tells who watches of a part of the operation.
func (o *output) part(p runtime.Part) {
	p.Name, p.Does, p.Detail, p.Sum = runtime.Scrub(p.Name), runtime.Scrub(p.Does), runtime.Scrub(p.Detail), runtime.Scrub(p.Sum)
	e := o.task.event(runtime.OpProgress)
	e.Op, e.Part = o.op, &p
	o.run.tell(e)
}

// end closes the file and returns the operation as it ended.
func (o *output) end(res runtime.Result) *runtime.OpEvent {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.scrub != nil {
		_ = o.scrub.Close()
	}
	if o.file != nil {
		_ = o.file.Close()
	}
	op := *o.op
	op.Changed = res.Changed
	if res.Value != nil {
		op.Result, _ = runtime.Encode(res.Value) // what cannot be kept is asked for again
	}
	return &op
}
