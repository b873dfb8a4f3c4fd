package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"infra/runtime"
	"infra/runtime/journal"
)

// logFollow shows a run as it is recorded, until it has ended. Only the
// looking ends with Ctrl-C: the run is another process's.
func (a *app) logFollow(ctx context.Context, ledger *journal.Ledger, id string, f logFlags) error {
	ctx, cancel := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	show := reader(newFollowing(a, f))
	defer show.Close()
	err := ledger.Follow(ctx, id, show.Read)
	if err != nil && ctx.Err() != nil {
		return exit{code: exitInterrupted}
	}
	return err
}

// A following shows the events of a run that are wanted.
type following struct {
	reader
	app   *app
	json  bool
	color bool
	steps []string // only these; nil: all
}

func newFollowing(a *app, f logFlags) *following {
	v := &following{app: a, json: f.json, steps: f.steps, color: wantsColor(a.stdout, a.getenv)}
	if f.json {
		v.reader = newJSON(a.stdout)
	} else {
		v.reader = newPlain(a.stdout, v.color, false)
	}
	return v
}

// Read implements reader.
func (v *following) Read(e runtime.Event) {
	switch {
	case v.steps != nil && !slices.Contains(v.steps, e.Step) && e.Kind != runtime.RunStarted && e.Kind != runtime.RunEnded:
	case e.Kind == runtime.RunResumed && !v.json:
		fmt.Fprintln(v.app.stdout, palette(v.color).bold("resumed at "+e.Time.Local().Format("2006-01-02 15:04:05 MST")))
	default:
		v.reader.Read(e)
	}
}
