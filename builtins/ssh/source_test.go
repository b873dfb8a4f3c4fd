package ssh

import (
	"bytes"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"testing"
	"time"
)

// A large file is read once for all who put it at the same time, and never told as it
// was before.
func TestSourceIsShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big")
	s := &sources{byPath: map[string]*sharedSource{}}
	open := func(want byte) *source {
		t.Helper()
		got, err := s.open(path, "big")
		if err != nil {
			t.Fatal(err)
		}
		content := got.content.Reveal()
		if len(content) == 0 || content[0] != want || content[len(content)-1] != want {
			t.Errorf("of what holds %q it says %.3q", want, content)
		}
		return got
	}
	// settle waits until the time of the last change is over, by the file system's clock.
	settle := func() {
		info, err := os.Stat(path)
		for err == nil && time.Since(info.ModTime()) <= 2*tick {
			time.Sleep(tick / 5)
		}
	}
	fill := func(b byte, size int) {
		if err := os.WriteFile(path, bytes.Repeat([]byte{b}, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fill('a', sharedFrom)
	settle()
	var all [8]*source
	var reading sync.WaitGroup
	for i := range all {
		reading.Go(func() { all[i], _ = s.open(path, "big") })
	}
	reading.Wait()
	for _, one := range all {
		if one == nil || one != all[0] {
			t.Fatal("it is read more than once")
		}
	}
	// Written again at once, and made to look as old as it was.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []byte("bcdefgh") {
		fill(b, sharedFrom)
		if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
			t.Fatal(err)
		}
		open(b)
	}
	goruntime.KeepAlive(all)
	for { // until one is read before its time of change is over
		written := time.Now()
		fill('n', sharedFrom)
		one := open('n')
		if time.Since(written) < tick {
			if one.stamp != (stamp{}) {
				t.Error("a file that could be written again unnoticed is shared")
			}
			break
		}
	}
	fill('s', sharedFrom-1)
	settle()
	if one, another := open('s'), open('s'); one == another {
		t.Error("a small file is shared")
	}
	fill('z', sharedFrom)
	settle()
	open('z')
	for range 3 { // what nobody needs goes
		goruntime.GC()
	}
	if s.byPath[path].read.Value() != nil {
		t.Error("a file that nobody puts any more is held")
	}
}
