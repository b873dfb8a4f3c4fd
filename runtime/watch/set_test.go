package watch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func digestOf(text string) string {
	hash := sha256.Sum256([]byte(text))
	return hex.EncodeToString(hash[:])
}

func newPlace(t *testing.T) *place {
	p := &place{t: t, dir: t.TempDir(), quiet: 20 * time.Millisecond}
	p.start(mode{})
	p.write(sentinel, "")
	return p
}

// What the caller read decides, and not what was there when it told us.
func TestSetComparesWithWhatWasRead(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("a", "now")
	p.write("c", "came since")
	digests := map[string]string{"a": digestOf("read before"), "b": Absent, "c": Absent, "gone": digestOf("was there"), sentinel: digestOf("")}
	inputs := func() []Input {
		var all []Input
		for name, digest := range digests {
			all = append(all, Input{Path: p.path(name), Digest: digest})
		}
		return all
	}
	p.check(p.w.Set(inputs()))
	if got, want := p.next(), []string{"a", "c", "gone"}; !slices.Equal(got, want) {
		t.Fatalf("%q is told, want %q", got, want)
	}
	p.check(p.signal())

	p.write(sentinel, "again")
	digests = map[string]string{"a": digestOf("now"), "b": Absent, "c": digestOf("came since"), "gone": Absent, sentinel: digestOf("again")}
	p.check(p.w.Set(inputs()))
	p.check(p.signal())

	digests[sentinel] = ""
	digests["a"] = digestOf("read before") // by a preview that began before
	p.check(p.w.Set(inputs()))
	if got := p.next(); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("%q is told, want a", got)
	}
}

// A change that nobody has received is taken back when it is none any more.
func TestWhatNobodyReceivedIsTakenBack(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.write("a", "one")
	p.write("b", "one")
	p.check(p.w.Set([]Input{{Path: p.path("a")}, {Path: p.path("b")}, {Path: p.path(sentinel)}}))
	offered := func() bool { return slices.Equal(p.w.offer.paths, []string{p.path("a"), p.path("b")}) }
	p.write("a", "two")
	p.write("b", "two")
	p.waitUntil("both are offered", offered)
	p.check(p.w.Set([]Input{{Path: p.path("a"), Digest: digestOf("two")}, {Path: p.path(sentinel)}}))
	p.check(p.signal())

	p.write("a", "three")
	p.waitUntil("it is offered", func() bool { return len(p.w.offer.paths) == 1 })
	p.write("a", "two")
	p.waitUntil("it is not offered", func() bool { return len(p.w.offer.paths) == 0 })
	p.check(p.signal())
}

// What does not count any more is not watched any more.
func TestSetForgets(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.mkdir("tree/deep")
	p.write("tree/deep/a", "")
	all := []Input{{Path: p.path("tree"), Tree: true}, {Path: p.path("tree/deep/b")}, {Path: p.path(sentinel)}}
	p.check(p.w.Set(all[2:]))
	var before []string
	p.check(p.w.do(func() { before = p.w.fs.WatchList() }))
	for range 3 {
		p.check(p.w.Set(all))
		p.check(p.w.Set(all[2:]))
	}
	p.write("tree/deep/a", "changed")
	p.write("tree/deep/b", "changed")
	p.check(p.signal())
	p.check(p.w.do(func() {
		after := p.w.fs.WatchList()
		slices.Sort(before)
		slices.Sort(after)
		if !slices.Equal(before, after) {
			t.Errorf("%q is watched, want %q", after, before)
		}
		if len(p.w.trees) != 0 || len(p.w.inputs) != 1 || len(p.w.changed) != 0 {
			t.Errorf("%d folders of trees, %d inputs and %d changes are left", len(p.w.trees), len(p.w.inputs), len(p.w.changed))
		}
	}))
}

func TestPathsAreAbsolute(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if err := p.w.Set([]Input{{Path: "plan.star"}}); err == nil || !strings.Contains(err.Error(), `"plan.star"`) {
		t.Errorf("%v, want an error that names the path", err)
	}
}

// This test is not parallel: no other Watcher lives beside it.
func TestCloseLeavesNothing(t *testing.T) {
	for i := range 5 {
		p := newPlace(t)
		p.check(p.w.Set([]Input{{Path: p.dir, Tree: true}}))
		p.write(sentinel, fmt.Sprint(i))
		if i == 0 {
			p.next()
		} // else it is closed in the middle
		p.check(p.w.Close())
		p.check(p.w.Close())
		if _, open := <-p.w.Changes(); open {
			t.Error("a change is told after Close")
		}
		if err := p.w.Set(nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Set after Close: %v", err)
		}
	}
	buffer := make([]byte, 1<<20)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		left := string(buffer[:runtime.Stack(buffer, true)])
		if !strings.Contains(left, "watch.(*Watcher)") && !strings.Contains(left, "fsnotify.") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("goroutines are left:\n%s", left)
		}
	}
}

// Events that were lost are made up for by looking everywhere.
func TestOverflow(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only inotify has a queue")
	}
	p := newPlace(t)
	inFolder(p)
	p.write("plan.star", "content")
	p.mkdir("tree/old")
	p.mkdir("busy")
	p.check(p.w.Set([]Input{{Path: p.path("plan.star")}, {Path: p.path("conf/deep/a.star")}, {Path: p.path("busy/none")},
		{Path: p.path("tree"), Tree: true}, {Path: p.path(sentinel)}}))
	hold, held := make(chan struct{}), make(chan struct{})
	go func() { _ = p.w.do(func() { close(held); <-hold }) }()
	<-held
	p.write("busy/a", "")
	for range 12000 { // each makes two events, and about 20,480 have room
		p.rename("busy/a", "busy/b")
		p.rename("busy/b", "busy/a")
	}
	p.write("plan.star", "changed")
	p.remove("conf")
	p.mkdir("conf/deep")
	p.write("conf/deep/a.star", "changed")
	p.rename("tree/old", "tree/new")
	p.write("tree/new/a", "new")
	close(hold)
	if got, want := p.next(), []string{"conf/deep/a.star", "plan.star", "tree/new/a"}; !slices.Equal(got, want) {
		t.Fatalf("%q is told, want %q", got, want)
	}
	p.check(p.signal())
	p.write("conf/deep/a.star", "changed again")
	p.write("tree/new/a", "changed again")
	if got, want := p.next(), []string{"conf/deep/a.star", "tree/new/a"}; !slices.Equal(got, want) {
		t.Fatalf("%q is told, want %q", got, want)
	}
}

// A folder that was moved into one that is not watched yet is watched as what it
// is now, although we are told of the move only later.
func TestAFolderThatMovedIntoANewOne(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	inFolder(p)
	p.check(p.w.Set([]Input{{Path: p.dir, Tree: true}}))
	hold, held := make(chan struct{}), make(chan struct{})
	go func() { _ = p.w.do(func() { close(held); <-hold }) }()
	<-held
	p.mkdir("new")
	p.rename("conf", "new/conf")
	close(hold)
	if got, want := p.next(), []string{"conf/deep/a.star", "new/conf/deep/a.star"}; !slices.Equal(got, want) {
		t.Fatalf("%q is told, want %q", got, want)
	}
	p.write("new/conf/deep/a.star", "changed")
	if got, want := p.next(), []string{"new/conf/deep/a.star"}; !slices.Equal(got, want) {
		t.Fatalf("%q is told, want %q", got, want)
	}
}
