package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A place is a folder of a test with a Watcher of it. What is done there counts as
// one save only if it was not held up for longer than the Watcher waits: void says
// that it was.
type place struct {
	t            *testing.T
	dir          string
	w            *Watcher
	quiet        time.Duration
	n            int // of the repetition, so that all content is new
	void, paused bool
	since        time.Time
	count        int // of sentinels
}

const sentinel = "sentinel"

// repetitions is how often each save is done; WATCH_REPEAT sets it.
func repetitions(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("WATCH_REPEAT"))
	if err != nil {
		return 1
	}
	t.Logf("%d repetitions", n)
	return n
}

func newWatcher(t *testing.T, opts Options) *Watcher {
	t.Helper()
	if opts.Warn == nil {
		opts.Warn = func(err error) { t.Error("warned: ", err) }
	}
	w, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) text() string { return fmt.Sprintf("content %d\n", p.n) }

func (p *place) write(name, text string) {
	p.t.Helper()
	p.check(os.WriteFile(p.path(name), []byte(text), 0o644))
}

func (p *place) mkdir(name string) { p.t.Helper(); p.check(os.MkdirAll(p.path(name), 0o755)) }

func (p *place) rename(from, to string) {
	p.t.Helper()
	p.check(os.Rename(p.path(from), p.path(to)))
}

func (p *place) remove(name string) { p.t.Helper(); p.check(os.RemoveAll(p.path(name))) }

func (p *place) link(target, name string) { p.t.Helper(); p.check(os.Symlink(target, p.path(name))) }

// pause lets a part of the quiet time go by.
func (p *place) pause(part float64) {
	nominal := time.Duration(part * float64(p.quiet))
	time.Sleep(nominal)
	p.paused = true
	p.void = p.void || time.Since(p.since) > nominal+p.quiet/6
	p.since = time.Now()
}

// end notes when what was done since the last pause took too long.
func (p *place) end() {
	limit := p.quiet / 2
	if p.paused {
		limit = p.quiet / 6
	}
	p.void = p.void || time.Since(p.since) > limit
}

// next is the next change that is told.
func (p *place) next() []string {
	p.t.Helper()
	select {
	case paths := <-p.w.Changes():
		for i := range paths {
			paths[i] = strings.TrimPrefix(paths[i], p.dir+"/")
		}
		return paths
	case <-time.After(20 * time.Second):
		p.t.Fatal("no change is told")
		return nil
	}
}

// signal changes the sentinel, and wants just that to be told next: nothing else
// was, and nothing else is still to be.
func (p *place) signal() error {
	p.t.Helper()
	p.count++
	p.write(sentinel, fmt.Sprint(p.n, " ", p.count))
	if got := p.next(); !slices.Equal(got, []string{sentinel}) {
		return fmt.Errorf("%v is told, and nothing changed but %s", got, sentinel)
	}
	return nil
}

// once does a save in a new folder, and looks at what is told of it.
func (p *place) once(s save, how mode) error {
	p.dir, p.void, p.paused, p.count = p.t.TempDir(), false, false, 0
	p.write("plan.star", "content")
	p.write(sentinel, "")
	if s.before != nil {
		s.before(p)
	}
	p.check(p.w.Set(how.inputs(p, s)))
	p.since = time.Now()
	s.save(p)
	p.end()
	if p.void {
		return nil
	}
	if len(s.want) > 0 {
		if got := p.next(); !slices.Equal(got, s.want) {
			return fmt.Errorf("%v is told, want %v", got, s.want)
		}
	}
	if err := p.signal(); err != nil || len(s.want) == 0 {
		return err
	}
	return p.saveAgain(s.want[0], how)
}

// saveAgain wants it told that a file is written again: what is watched is what is
// there now.
func (p *place) saveAgain(name string, how mode) error {
	p.t.Helper()
	if info, err := os.Lstat(p.path(name)); how.tree && err == nil && !info.Mode().IsRegular() {
		return nil // the file behind it would be told
	}
	p.write(name, "again")
	if got := p.next(); !slices.Equal(got, []string{name}) {
		return fmt.Errorf("%v is told when %s is written again", got, name)
	}
	return nil
}

// A mode is a way to watch.
type mode struct {
	name   string
	tree   bool
	polled bool
}

var modes = []mode{{name: "file"}, {name: "tree", tree: true}, {"polled", false, true}, {"polled tree", true, true}}

func (m mode) inputs(p *place, s save) []Input {
	if m.tree {
		return []Input{{Path: p.dir, Tree: true}}
	}
	inputs := []Input{{Path: p.path(sentinel)}}
	for _, name := range slices.Concat([]string{"plan.star"}, s.want, s.also) {
		inputs = append(inputs, Input{Path: p.path(name)})
	}
	return inputs
}

func (p *place) start(m mode) {
	p.t.Helper()
	opts := Options{Quiet: p.quiet, AtMost: 10 * p.quiet, Poll: p.quiet / 2}
	if m.polled {
		p.w = start(opts, nil)
		p.t.Cleanup(func() { _ = p.w.Close() })
		return
	}
	p.w = newWatcher(p.t, opts)
}

func TestSaves(t *testing.T) {
	t.Parallel()
	times := repetitions(t)
	for _, s := range saves {
		for _, m := range modes {
			if s.filesOnly && m.tree {
				continue
			}
			t.Run(s.name+"/"+m.name, func(t *testing.T) {
				t.Parallel()
				if s.needs != "" {
					needProgram(t, s.needs)
				}
				repeat(t, s, m, times)
			})
		}
	}
}

// repeat does a save so many times undisturbed. The quiet time grows where the
// machine is too busy for it.
func repeat(t *testing.T, s save, m mode, times int) {
	p := &place{t: t, quiet: 50 * time.Millisecond}
	longest := p.quiet
	for p.n < times {
		p.start(m)
		p.void = false
		for last := p.n + 20; p.n < min(times, last) && !p.void; {
			p.n++
			if err := p.once(s, m); err != nil {
				t.Fatalf("repetition %d, with a quiet time of %s: %v", p.n, p.quiet, err)
			}
		}
		p.check(p.w.Close())
		if p.void {
			p.n--
			p.quiet *= 2
			longest = max(longest, p.quiet)
			continue
		}
		p.quiet = max(p.quiet/2, 50*time.Millisecond)
	}
	if longest > 50*time.Millisecond {
		t.Logf("the quiet time had to be %s once", longest)
	}
}
