package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/engine"
	saved "infra/runtime/preview"
	"infra/runtime/remote"
)

// warmed is a program that previews plans in one process, each twice with the answers
// of the first time kept: infra-warm SSH_CONFIG PLAN... For each it prints how often
// something was asked for, and how long that took. What differs is an error.
func warmed() {
	ctx := context.Background()
	for _, file := range os.Args[2:] {
		if err := twice(ctx, os.Args[1], file); err != nil {
			fmt.Fprintln(os.Stderr, file+":", err)
			os.Exit(1)
		}
	}
}

// keepsItsReads previews a plan so. What it starts the second time is terraform alone.
func (tr *trial) keepsItsReads(file string) {
	tr.Helper()
	r := tr.runs(exec.Command("infra-warm", tr.fleet.SSHConfig(), file), append(os.Environ(), tr.fleet.Env()...))
	r.want(tr.T, exitOK)
	if file == "plans/blackphos.star" && strings.Count(r.stdout, " asked 0 in ") != 1 {
		tr.Errorf("it asks for what is kept:\n%s", r.stdout)
	}
}

func twice(ctx context.Context, sshConfig, file string) error {
	root, err := rootOf(file)
	if err != nil {
		return err
	}
	w := warm{root: root, reads: engine.NewReads(time.Hour),
		pool: remote.NewPool(remote.Config{SSHConfig: sshConfig, Contacts: filepath.Join(root, ".infra", "known_hosts"), LookOn: true})}
	defer w.pool.Close()
	w.specs = builtins.Deps{Root: root, SSHConfig: sshConfig, Pool: w.pool}
	var shown [2]string
	for i := range shown {
		asked, began := w.reads.Asked(), time.Now()
		if shown[i], err = w.preview(ctx, file); err != nil {
			return err
		}
		fmt.Printf("%s asked %d in %s\n", file, w.reads.Asked()-asked, time.Since(began).Round(time.Millisecond/10))
		w.reads.Sweep()
	}
	if shown[0] != shown[1] {
		return fmt.Errorf("it shows\n%s\nthe second time, and showed\n%s", shown[1], shown[0])
	}
	return nil
}

// warm is what previews have in common.
type warm struct {
	root  string
	specs builtins.Deps
	pool  *remote.Pool
	reads *engine.Reads
}

// preview is all that a preview shows of the plan's steps and checks, but for times.
func (w *warm) preview(ctx context.Context, file string) (string, error) {
	e := engine.New(w.root, builtins.All(w.specs))
	path, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	ctx = runtime.WithReader(runtime.WithPrint(ctx, func(string) {}), w.reads.Read)
	read, err := e.Preview(ctx, path)
	if err != nil {
		return "", err
	}
	c, ends := saved.NewCollector(w.root), map[string]string{}
	_, err = e.Run(ctx, read, engine.Options{Reads: w.reads, Show: func(ev runtime.Event) {
		c.Read(ev)
		switch ev.Kind {
		case runtime.StepEnded:
			ends[ev.Step+" on "+ev.Host] = fmt.Sprint(ev.Status, ev.Err, ev.Text)
		case runtime.OpEnded:
			ends[ev.Step+" on "+ev.Host+" asks"] += fmt.Sprintln(ev.Op.Op.Name, ev.Op.Op.Pos, ev.Text, ev.Err, string(ev.Op.Result))
		}
	}})
	if err != nil {
		return "", err
	}
	d := &saved.Document{Sources: read.Sources()}
	if err := c.Fill(d); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent([]any{d, ends}, "", " ")
	return string(text), err
}
