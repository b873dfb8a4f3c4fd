package terraform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"infra/runtime"
)

// A task is one command for terraform.
type task struct {
	args     []string
	plan     string // its last argument; may be ""
	vars     bool   // give it the variables and the files with variables
	dir      string // "" is the ready folder's
	scratch  *scratch
	grace    time.Duration
	planning bool
	total    int
	started  func(pid int)
}

// run runs a task and tells the log of it. The error is of what kept it from
// running; whether terraform succeeded is in the state.
func (r *ready) run(ctx context.Context, log *lineLog, t task) (*stream, *os.ProcessState, error) {
	said := &stream{log: log, planning: t.planning, preparing: t.args[0] == "init", total: t.total,
		part: func(p runtime.Part) { runtime.Progress(ctx, p) }}
	argv := append([]string{r.bin}, t.args...)
	if t.vars {
		files, done, err := r.varFiles(t.scratch)
		if err != nil {
			return said, nil, err
		}
		defer done()
		argv = append(argv, files...)
	}
	if t.plan != "" {
		argv = append(argv, t.plan)
	}
	dir := t.dir
	if dir == "" {
		dir = r.work
	}
	p := process{argv: argv, dir: dir, env: environ(r.env), scratch: t.scratch, grace: t.grace, started: t.started,
		slow: func(pid int, d time.Duration) {
			log.printf("%s (process %d) was told to end %s ago and still finishes what it has begun; it loses that if it is killed",
				r.named(), pid, d.Round(time.Second))
		}}
	over, followed := make(chan struct{}), make(chan error, 1)
	go func() { followed <- t.scratch.follow(over, said.stdout, said.stderr) }()
	state, err := p.run(ctx)
	close(over)
	if followErr := <-followed; err == nil && followErr != nil {
		log.printf("reading what %s said: %v", r.named(), followErr)
	}
	return said, state, err
}

// varFiles are the arguments that name variables. Nobody can read their values
// from them.
func (r *ready) varFiles(s *scratch) (args []string, done func(), err error) {
	for _, name := range r.VarFiles {
		if !filepath.IsAbs(name) {
			name = filepath.Join(r.path, name)
		}
		args = append(args, "-var-file="+name)
	}
	if len(r.Vars) == 0 {
		return args, func() {}, nil
	}
	done, err = s.pipeVars(r.Vars)
	return append(args, "-var-file="+s.varsPath()), done, err
}

// failed is the error of a command that did not run.
func (r *ready) failed(command string, ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s %s of %s: %w", r.named(), command, r.Path, context.Cause(ctx))
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s is not installed: %w", r.named(), err)
	}
	return fmt.Errorf("%s %s of %s: %w", r.named(), command, r.Path, err)
}

// names are the first of a list, for an error.
func names(list []string) string {
	const most = 20
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}
