package watch

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// The files of a random history. Some of the folders are links now and then.
var (
	randomFiles   = []string{"a", "b", "d/a", "d/b", "d/e/a", "link"}
	randomFolders = []string{"d", "d/e"}
)

// TestAnyHistory does what comes to mind in random order, and wants told what is
// another content in the end than what was told last, and nothing else.
func TestAnyHistory(t *testing.T) {
	t.Parallel()
	seed, err := strconv.ParseUint(os.Getenv("WATCH_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			t.Logf("WATCH_SEED=%d", seed)
			h := &history{random: rand.New(rand.NewPCG(seed, 0)), mode: m}
			h.run(t, 10*repetitions(t))
		})
	}
}

type history struct {
	*place
	random *rand.Rand
	mode   mode
	log    []string
}

func (h *history) run(t *testing.T, times int) {
	h.place = &place{t: t, quiet: 50 * time.Millisecond, dir: t.TempDir()}
	h.write(sentinel, "")
	for i := 0; i < times; {
		h.start(h.mode)
		h.check(h.w.Set(h.mode.inputs(h.place, save{want: randomFiles})))
		h.void = false
		for last := min(times, i+10); i < last && !h.void; i++ {
			h.step()
		}
		h.check(h.w.Close())
		if h.void {
			h.quiet *= 2
		} else {
			h.quiet = max(h.quiet/2, 50*time.Millisecond)
		}
	}
}

// step does some things within one quiet time, and looks what is told.
func (h *history) step() {
	before := h.contents()
	h.log, h.since = nil, time.Now()
	for range 1 + h.random.IntN(6) {
		h.act()
	}
	h.n++
	h.write(sentinel, fmt.Sprint(h.n))
	h.end()
	after := h.contents()
	if h.void {
		return
	}
	var want []string
	for _, name := range slices.Sorted(maps.Keys(merge(before, after))) {
		if before[name] != after[name] {
			want = append(want, name)
		}
	}
	if got := h.next(); !slices.Equal(got, want) {
		h.t.Fatalf("step %d: %v is told, want %v, after\n%q", h.n, got, want, h.log)
	}
}

func merge(a, b map[string]string) map[string]string {
	c := maps.Clone(a)
	maps.Copy(c, b)
	return c
}

// contents is the model: what there is of all that counts.
func (h *history) contents() map[string]string {
	found := map[string]string{}
	if !h.mode.tree {
		for _, name := range append([]string{sentinel}, randomFiles...) {
			found[name] = h.content(name, os.Stat)
		}
		return found
	}
	_ = filepath.WalkDir(h.dir, func(path string, entry os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(h.dir, path); err == nil && !entry.IsDir() {
			found[rel] = h.content(rel, os.Lstat)
		}
		return nil
	})
	return found
}

func (h *history) content(name string, stat func(string) (os.FileInfo, error)) string {
	info, err := stat(h.path(name))
	switch {
	case err != nil:
		return ""
	case info.IsDir():
		return "folder"
	case info.Mode().IsRegular():
		content, err := os.ReadFile(h.path(name))
		h.check(err)
		hash := sha256.Sum256(content)
		return "is " + hex.EncodeToString(hash[:])
	}
	target, err := os.Readlink(h.path(name))
	h.check(err)
	return "leads to " + target
}

// act does one thing, as far as it can be done.
func (h *history) act() {
	pick := func(from []string) string { return from[h.random.IntN(len(from))] }
	name, other, folder := pick(randomFiles), pick(randomFiles), pick(randomFolders)
	path, text := h.path(name), fmt.Sprint("content ", h.random.IntN(3))
	var err error
	did := ""
	switch h.random.IntN(11) {
	case 0, 1:
		did, err = "write "+name, os.WriteFile(path, []byte(text), 0o644)
	case 2:
		_ = os.WriteFile(h.path("tmp"), []byte(text), 0o644)
		did, err = "rename over "+name, os.Rename(h.path("tmp"), path)
		_ = os.Remove(h.path("tmp"))
	case 3:
		did, err = "remove "+name, os.Remove(path)
	case 4:
		did, err = "rename "+name+" to "+other, os.Rename(path, h.path(other))
	case 5:
		_ = os.Remove(path)
		did, err = "link "+name+" to "+other, os.Symlink(h.path(other), path)
	case 6:
		did, err = "touch "+name, os.Chtimes(path, time.Now(), time.Now())
	case 7:
		did, err = "mkdir "+folder, os.MkdirAll(h.path(folder), 0o755)
	case 8:
		did, err = "remove "+folder, os.RemoveAll(h.path(folder))
	case 9:
		did, err = "move "+folder+" away", os.Rename(h.path(folder), h.path("away"))
	case 10:
		did, err = "move to "+folder, os.Rename(h.path("away"), h.path(folder))
	}
	h.log = append(h.log, fmt.Sprintf("%s: %v", did, err))
}
