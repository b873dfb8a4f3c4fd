package main

import (
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"infra/runtime"
)

// newPeopleReader returns the reader for people that suits out: a live tree on
// a terminal, plain lines elsewhere.
func newPeopleReader(out *os.File, getenv func(string) string, strict bool) reader {
	if canRedraw(out, getenv) {
		t := newTree(out, getenv)
		t.words.strict = strict
		return t
	}
	return newPlain(out, wantsColor(out, getenv), strict)
}

// tree shows a run as a live tree of its steps. What must outlive the moment,
// the plan's own lines and failures, is printed above it.
type tree struct {
	mu        sync.Mutex
	out       *os.File
	screen    screen
	words     words
	state     *treeState
	above     strings.Builder // not yet printed
	due       bool            // a drawing will come
	suspended bool
	closed    bool
}

// drawEvery is how often the tree is drawn, however many events come, and
// without any: times and the terminal's size change too.
const drawEvery = 100 * time.Millisecond

// newTree returns a reader that keeps a tree at the bottom of the terminal out.
func newTree(out *os.File, getenv func(string) string) *tree {
	return &tree{
		out:    out,
		screen: screen{out: out, reflows: wrapsAnew(getenv)},
		words:  newWords(palette(wantsColor(out, getenv)), true),
		state:  newTreeState(),
	}
}

// Read implements reader.
func (t *tree) Read(e runtime.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.state.apply(e)
	if e.Kind == runtime.RunEnded {
		t.finish(e)
		return
	}
	t.above.WriteString(t.words.tell(e))
	t.schedule(drawEvery)
}

// Suspend takes the tree off the screen, for a question say; what happens
// meanwhile is shown by Resume.
func (t *tree) Suspend() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.suspended && !t.closed {
		t.draw(nil)
		t.suspended = true
	}
}

// Resume puts the tree back.
func (t *tree) Resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.suspended {
		t.suspended = false
		t.schedule(0)
	}
}

// Close implements reader. A run that never ended leaves no tree behind.
func (t *tree) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.draw(nil)
		t.closed = true
	}
}

// finish leaves the final tree, or a dry run's previews, and the summary.
func (t *tree) finish(e runtime.Event) {
	summary := t.words.tell(e)
	width, height := t.size()
	if t.words.previews == nil {
		room := height - strings.Count(summary, "\n")
		final := view(t.state, width, max(room, 4), t.words.palette)
		t.above.WriteString(final + "\n")
	}
	t.above.WriteString(summary)
	t.draw(nil)
	t.closed = true
}

// schedule has the tree drawn after a while, unless that is due already.
func (t *tree) schedule(after time.Duration) {
	if !t.due && !t.suspended {
		t.due = true
		time.AfterFunc(after, t.tick)
	}
}

func (t *tree) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.due = false
	if t.suspended || t.closed {
		return
	}
	t.redraw()
	t.schedule(drawEvery)
}

func (t *tree) redraw() {
	width, height := t.size()
	t.state.now = time.Now()
	t.draw(strings.Split(view(t.state, width, height-1, t.words.palette), "\n"))
}

// draw puts frame on the screen, and above it what is to stay.
func (t *tree) draw(frame []string) {
	width, height := t.size()
	t.screen.draw(t.above.String(), frame, width, height)
	t.above.Reset()
}

func (t *tree) size() (width, height int) {
	width, height, err := term.GetSize(int(t.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}
