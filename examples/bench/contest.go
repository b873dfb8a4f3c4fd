package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A contest is one work, done by several tools in turn.
type contest struct {
	title  string
	work   work
	tools  []tool
	rounds int
	few    int // how many of them the slow ones take part in
	// check looks whether a tool has done the work; nil is that the commands ran.
	check func() error
}

// A score is what one tool took.
type score struct {
	tool tool
	figure
	own     int64    // the memory of infra's own process, or of the largest
	samples []figure // by round
}

// hold runs the contest. The first round is not timed: it warms the machine up, and
// memory is looked at in it.
func (c contest) hold(ctx context.Context) ([]score, error) {
	var pkgs []string
	for _, t := range c.tools {
		if t.pkg != "" && !slices.Contains(pkgs, t.pkg) {
			pkgs = append(pkgs, t.pkg)
		}
	}
	if err := install(ctx, pkgs...); err != nil {
		return nil, err
	}
	used(pkgs...)
	if err := c.work.write(); err != nil {
		return nil, err
	}
	scores := make([]score, len(c.tools))
	for round := range c.rounds + 1 {
		for i, t := range c.tools {
			if t.slow && round > c.few {
				continue
			}
			if err := c.once(ctx, &scores[i], t, round); err != nil {
				return nil, fmt.Errorf("%s by %s: %w", c.title, t.name, err)
			}
		}
	}
	c.work.on.disconnect()
	for i := range scores {
		memory := scores[i].memory
		scores[i].figure = median(scores[i].samples)
		scores[i].own, scores[i].memory = scores[i].figure.memory, memory
	}
	return scores, nil
}

func (c contest) once(ctx context.Context, s *score, t tool, round int) error {
	s.tool = t
	if !t.warm {
		c.work.on.disconnect()
	}
	c.work.on.settle()
	before := c.work.on.cpu()
	f, peak, err := timed(ctx, c.work.on.dir, t.argv(c.work), round == 0)
	if err != nil {
		return err
	}
	if c.work.on.settle() {
		f.hosts = c.work.on.cpu() - before
	}
	check := c.check
	if check == nil {
		check = func() error { return c.work.on.ran(c.work) }
	}
	if err := check(); err != nil {
		return err
	}
	if round == 0 {
		s.memory = peak
		return nil
	}
	s.samples = append(s.samples, f)
	return nil
}

// timed runs a command. Its CPU is that of the process and of all that it waited for:
// the hosts' sshd are none of them, and neither is a master of ssh that stays. What it
// prints goes to a file, since such a master holds on to a pipe.
func timed(ctx context.Context, dir string, argv []string, look bool) (f figure, peak int64, err error) {
	said, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		return f, 0, err
	}
	defer said.Close()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, said, said
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return f, 0, err
	}
	ended, peaks := make(chan struct{}), make(chan int64, 1)
	if look {
		go func() { peaks <- peakOf(cmd.Process.Pid, ended) }()
	}
	err = cmd.Wait()
	f.wall = time.Since(started)
	close(ended)
	if look {
		peak = <-peaks
	}
	if err != nil {
		text, _ := os.ReadFile(said.Name())
		return f, 0, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, text[max(0, len(text)-2000):])
	}
	f.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		f.memory = u.Maxrss << 10
	}
	return f, peak, nil
}

// ratio is the median of how many times as long, by get, a tool took as another in the
// same round: the machine is not as fast at all times.
func ratio(a, b score, get func(figure) time.Duration) float64 {
	var all []float64
	for i := range min(len(a.samples), len(b.samples)) {
		all = append(all, get(a.samples[i]).Seconds()/get(b.samples[i]).Seconds())
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func wallOf(f figure) time.Duration { return f.wall }
func cpuOf(f figure) time.Duration  { return f.cpu }

// scoreOf is what the tool of that name took.
func scoreOf(scores []score, t tool) score {
	i := slices.IndexFunc(scores, func(s score) bool { return s.tool.name == t.name })
	return scores[i]
}

// print prints a table, and in a sentence who was ahead of infra.
func (c contest) print(out io.Writer, scores []score) {
	fmt.Fprintf(out, "\n| %s | wall | client CPU | hosts' CPU | memory | wall beside infra |\n|---|---|---|---|---|---|\n", c.title)
	ours := scoreOf(scores, toolInfra)
	var faster, lighter []string
	for _, s := range scores {
		hosts := "?" // connections stay, and have not told yet
		if s.hosts > 0 {
			hosts = fmt.Sprintf("%.2f s", s.hosts.Seconds())
		}
		times := ratio(s, ours, wallOf)
		fmt.Fprintf(out, "| %s | %.2f s | %.2f s | %s | %d MiB | %.2f |\n", s.tool.name, s.wall.Seconds(), s.cpu.Seconds(), hosts, s.memory>>20, times)
		if s.tool.name == ours.tool.name {
			continue
		}
		if times < 1 {
			faster = append(faster, fmt.Sprintf("%s (%.2f s)", s.tool.name, s.wall.Seconds()))
		}
		if ratio(s, ours, cpuOf) < 1 {
			lighter = append(lighter, fmt.Sprintf("%s (%.2f s)", s.tool.name, s.cpu.Seconds()))
		}
	}
	fmt.Fprintf(out, "\nFaster than infra: %s. With less CPU of the client: %s.\n", orNothing(faster), orNothing(lighter))
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
