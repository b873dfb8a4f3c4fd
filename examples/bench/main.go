// Command bench measures infra beside a peer, in one run on one machine, and
// prints a table in Markdown: start-up, an empty plan, reading a large plan,
// and the memory of each; then what the journal costs, by itself and as a part of a
// run of many hosts; a plan and an apply of terraform beside the same by hand; the
// same work on many hosts by infra, by its peers and by a bare client; and how soon
// after a save a preview is there. It installs the
// peers (from Debian) where they are missing.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The program measures all, or what its arguments name: see benches. With --write it
// keeps what it prints as docs/benchmarks.md.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A benchmark prints what it measured. Its error names what misses a limit, a line each.
type benchmark struct {
	name string
	run  func(context.Context, io.Writer, string) error
}

var benches = []benchmark{
	{"peer", benchPeer}, {"dryruns", dryRuns}, {"scale", benchScale}, {"journal", benchJournal}, {"status", benchStatus},
	{"terraform", benchTerraform}, {"hosts", benchHosts}, {"switch", benchSwitch},
	{"fleet", benchFleet}, {"fleet500", benchMany}, {"wire", benchWire}, {"put", benchPut}, {"watch", benchWatch},
}

// A row is one piece of work, done by infra and by the peer.
type row struct {
	work        string
	infra, peer []string
	limit       time.Duration // what infra's median must stay under
}

func bench(ctx context.Context, out io.Writer, args []string) error {
	write := slices.Contains(args, "--write")
	only := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--write" })
	for _, name := range only {
		if !slices.ContainsFunc(benches, func(b benchmark) bool { return b.name == name }) {
			return fmt.Errorf("there is no benchmark %q", name)
		}
	}
	dir, err := os.MkdirTemp("", "infra-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := prepare(ctx, dir); err != nil {
		return err
	}
	var tables bytes.Buffer
	fmt.Fprintf(out, "%s\n\n", machine())
	var slow []string
	for _, b := range benches {
		if len(only) > 0 && !slices.Contains(only, b.name) {
			continue
		}
		if err := b.run(ctx, io.MultiWriter(out, &tables), dir); err != nil {
			slow = append(slow, strings.Split(err.Error(), "\n")...)
		}
	}
	if write {
		if err := writeDocument(args, tables.Bytes(), slow); err != nil {
			return err
		}
	}
	if len(slow) > 0 {
		return errors.New(strings.Join(slow, "; "))
	}
	return nil
}

// benchPeer measures what ansible does as well, beside it.
func benchPeer(ctx context.Context, out io.Writer, dir string) error {
	if err := install(ctx, "ansible-core"); err != nil {
		return err
	}
	used("ansible-core")
	infra := filepath.Join(dir, "infra")
	rows := []row{
		{"start-up", []string{infra, "version"}, []string{"ansible", "--version"}, 30 * time.Millisecond},
		{"a run of one empty step", []string{infra, "run", "empty.star"}, []string{"ansible-playbook", "-i", "localhost,", "empty.yml"}, 60 * time.Millisecond},
		{"reading 1,000 hosts x 10 steps", []string{infra, "run", "--dry-run", "--step", "h0-0", "big.star"},
			[]string{"ansible-playbook", "-i", "big.ini", "--list-tasks", "--list-hosts", "big.yml"}, 300 * time.Millisecond},
	}
	fmt.Fprintln(out, "| work | infra: wall | cpu | memory | ansible-core: wall | cpu | memory |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|")
	var slow []string
	for _, r := range rows {
		a, b, err := pair(ctx, dir, r.infra, r.peer)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| %s | %s | %s |\n", r.work, a, b)
		if a.wall > r.limit {
			slow = append(slow, fmt.Sprintf("%s took %s, and should stay under %s", r.work, a.wall.Round(time.Millisecond), r.limit))
		}
	}
	if len(slow) > 0 {
		return errors.New(strings.Join(slow, "; "))
	}
	return nil
}

// prepare builds infra, and what measures beside it, and writes the inputs.
func prepare(ctx context.Context, dir string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "disable_grpc_modules", "-ldflags", "-s -w", "-o", dir, "infra/cmd/infra", "infra/examples/bench/bare", "infra/examples/bench/wire")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build infra: %w", err)
	}
	for name, text := range inputs() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func inputs() map[string]string {
	var ini, yml strings.Builder
	ini.WriteString("[all]\n")
	for i := range 1000 {
		fmt.Fprintf(&ini, "h%d\n", i)
	}
	yml.WriteString("- hosts: all\n  gather_facts: false\n  tasks:\n")
	for i := range 10 {
		fmt.Fprintf(&yml, "    - name: step %d\n      ansible.builtin.raw: 'true'\n", i)
	}
	return map[string]string{
		"infra.toml": "",
		"empty.star": "def nothing(): pass\nempty = plan(steps = [step(nothing)])\n",
		"big.star": `
hosts = [host("h%d" % i, system = "x86_64-linux") for i in range(1000)]
def make(h, i):
    def act(): pass
    return step(act, name = "%s-%d" % (h.name, i))
big = plan(hosts = hosts, steps = [make(h, i) for h in hosts for i in range(10)])
`,
		"empty.yml": "- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:\n    - ansible.builtin.meta: noop\n",
		"big.ini":   ini.String(),
		"big.yml":   yml.String(),
	}
}

// A figure is the median of several runs of one command.
type figure struct {
	wall, cpu time.Duration
	hosts     time.Duration // the CPU of the hosts, where that was looked at
	memory    int64         // bytes, of the largest process
}

func (f figure) String() string {
	return fmt.Sprintf("%.1f ms | %.1f ms | %d MiB", f.wall.Seconds()*1000, f.cpu.Seconds()*1000, f.memory>>20)
}

// runs is how often each command is measured; the two take turns, so that a
// machine that becomes slow slows both.
const runs = 11

func pair(ctx context.Context, dir string, a, b []string) (fa, fb figure, err error) {
	var as, bs []figure
	for i := range runs + 1 {
		x, err := measure(ctx, dir, a)
		if err != nil {
			return fa, fb, err
		}
		y, err := measure(ctx, dir, b)
		if err != nil {
			return fa, fb, err
		}
		if i > 0 { // the first is a warm-up
			as, bs = append(as, x), append(bs, y)
		}
	}
	return median(as), median(bs), nil
}

func median(fs []figure) figure {
	mid := func(get func(figure) int64) int64 {
		var xs []int64
		for _, f := range fs {
			xs = append(xs, get(f))
		}
		slices.Sort(xs)
		return xs[len(xs)/2]
	}
	return figure{
		wall:   time.Duration(mid(func(f figure) int64 { return int64(f.wall) })),
		cpu:    time.Duration(mid(func(f figure) int64 { return int64(f.cpu) })),
		hosts:  time.Duration(mid(func(f figure) int64 { return int64(f.hosts) })),
		memory: mid(func(f figure) int64 { return f.memory }),
	}
}

// measure runs a command once; one that fails is no measurement.
func measure(ctx context.Context, dir string, argv []string) (figure, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	started := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return figure{}, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	f := figure{wall: time.Since(started), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		f.memory = u.Maxrss << 10
	}
	return f, nil
}

func cpu() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimLeft(strings.TrimSpace(name), ": ")
		}
	}
	return runtime.GOARCH
}
