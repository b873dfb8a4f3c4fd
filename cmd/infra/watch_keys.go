package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/shlex"
)

// press does what a key is for. end says that it ends infra, with a code.
func (r *reloader) press(ctx context.Context, k key) (code int, end bool) {
	v := &r.screen.view
	if v.choosing != "" {
		what, n := v.choosing, int(k-'1')
		v.choosing = ""
		if k >= '1' && n < len(r.plans) {
			return r.act(ctx, what, r.plans[n])
		}
		if k != ctrlC && k != 'q' {
			r.screen.redraw()
			return 0, false
		}
	}
	switch k {
	case 'q':
		return exitOK, true
	case ctrlC:
		return exitInterrupted, true
	case ctrlZ:
		r.screen.suspend()
	case 'f':
		v.full = !v.full
		r.screen.redraw()
	case 'p':
		r.reads.Forget()
		r.beginAll(ctx, "asked anew")
	case 'r', 'e':
		return r.choose(ctx, map[key]string{'r': "run", 'e': "edit"}[k])
	}
	return 0, false
}

// choose asks for one of the plans where there are several.
func (r *reloader) choose(ctx context.Context, what string) (code int, end bool) {
	if len(r.plans) == 1 {
		return r.act(ctx, what, r.plans[0])
	}
	r.screen.view.choosing = what
	r.screen.redraw()
	return 0, false
}

// act runs or edits a plan.
func (r *reloader) act(ctx context.Context, what string, p *watchedPlan) (code int, end bool) {
	ended := false
	err := r.screen.lend(func() (err error) {
		if what == "edit" {
			ended, err = r.edit(p)
			return err
		}
		ended, err = r.runNow(p)
		return err
	})
	if ended {
		return exitInterrupted, true
	}
	if r.screen.view.note = ""; err != nil {
		r.screen.view.note = err.Error()
	}
	if what == "run" { // what was known of hosts is of another time
		r.reads.Forget()
		r.beginAll(ctx, "after the run")
	}
	r.screen.redraw()
	return 0, false
}

// runNow runs a plan as infra run does, and no preview meanwhile.
func (r *reloader) runNow(p *watchedPlan) (ended bool, err error) {
	for _, p := range r.plans {
		p.stop()
	}
	self, err := os.Executable()
	if err != nil {
		return false, fmt.Errorf("run %s: %w", p.file, err)
	}
	args := r.runArgs(p)
	fmt.Fprintln(r.stderr, "infra "+strings.Join(args, " "))
	cmd := exec.Command(self, args...)
	cmd.Args[0] = os.Args[0]
	ended, err = r.wait(cmd)
	if ended || err != nil && cmd.ProcessState == nil {
		return ended, err
	}
	fmt.Fprintf(r.stderr, "infra run ended with exit code %d: press a key to go back\n", max(cmd.ProcessState.ExitCode(), 0))
	return r.pause()
}

// runArgs are what infra run is told, to run what is previewed.
func (r *reloader) runArgs(p *watchedPlan) []string {
	f, args := r.flags, []string{"run"}
	for _, flag := range []struct {
		name   string
		values []string
	}{{"--step", f.steps}, {"--host", f.hosts}, {"--ssh-config", []string{f.sshConfig}}, {"--flake", []string{f.flake}}} {
		for _, value := range flag.values {
			if value != "" {
				args = append(args, flag.name, value)
			}
		}
	}
	if f.jobs > 0 {
		args = append(args, "--jobs", fmt.Sprint(f.jobs))
	}
	args = append(args, f.budgets.args()...)
	if rel, err := filepath.Rel(workingDir(), p.path); err == nil {
		return append(args, rel)
	}
	return append(args, p.path)
}

func workingDir() string {
	dir, _ := os.Getwd() // "": the plan is named by its whole path then
	return dir
}

// pause waits for a key.
func (r *reloader) pause() (ended bool, err error) {
	if err := r.screen.keyboard.open(); err != nil {
		return false, err
	}
	for {
		select {
		case k := <-r.screen.keyboard.pressed:
			return k == ctrlC, nil
		case s := <-r.signals:
			if ends(s) {
				return true, nil
			}
		}
	}
}

// edit opens the error, or the plan, in the person's editor.
func (r *reloader) edit(p *watchedPlan) (ended bool, err error) {
	words, err := shlex.Split(cmp.Or(r.getenv("VISUAL"), r.getenv("EDITOR"), "vi"))
	if err == nil && len(words) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return false, fmt.Errorf("$VISUAL or $EDITOR names no editor: %w", err)
	}
	file, line := p.file, 1
	if p.last != nil {
		file, line = p.last.place()
	}
	path := filepath.Join(r.root, filepath.FromSlash(file))
	fmt.Fprintf(r.stderr, "%s has the terminal until it ends\n", words[0])
	cmd := exec.Command(words[0], append(words[1:], fmt.Sprintf("+%d", line), path)...)
	if ended, err = r.wait(cmd); err != nil && cmd.ProcessState == nil {
		err = fmt.Errorf("open %s: %w", file, err)
	}
	return ended, err
}

// wait has a command work on our terminal until it ends. What is typed there to
// interrupt goes to it as well; what tells us to end is handed on.
func (r *reloader) wait(cmd *exec.Cmd) (ended bool, err error) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r.terminal(), r.stdout, r.stderr
	if err := cmd.Start(); err != nil {
		return false, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case err := <-done:
			return ended, err
		case s := <-r.signals:
			if s != os.Interrupt && ends(s) {
				ended = true
				_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
			}
		}
	}
}

// ends says whether a signal tells infra to end.
func ends(s os.Signal) bool { return s != syscall.SIGWINCH && s != syscall.SIGCONT }
