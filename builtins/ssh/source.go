package ssh

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"weak"

	"golang.org/x/sys/unix"

	"infra/runtime"
)

// sourceLimit is the largest local file that put sends; it is held in memory.
const sourceLimit = 64 << 20

// sources are the local files that are being put. What goes to many hosts at once is
// read once, and held for as long as one of them needs it.
type sources struct {
	mu     sync.Mutex
	byPath map[string]*sharedSource
}

type sharedSource struct {
	mu   sync.Mutex // held while the file is read: who else wants it, waits
	read weak.Pointer[source]
}

// A source is what a local file held when it was read.
type source struct {
	content runtime.Text
	digest  string
	stamp   stamp
}

// A stamp is another one where a file is, or may be, another one.
type stamp struct {
	device, number  uint64
	size            int64
	changed, status unix.Timespec
}

// tick is more than the time within which a file can be written twice and show it once.
const tick = 50 * time.Millisecond

// sharedFrom is the size from which on a file is worth sharing. What the kernel makes up
// when it is read, and never shows a change of, is smaller.
const sharedFrom = 1 << 20

func stampOf(f *os.File) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return stamp{}, fmt.Errorf("looking at %s: %w", f.Name(), err)
	}
	return stamp{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}, nil
}

// open returns what the file holds now. Name is what the plan calls it.
func (s *sources) open(path, name string) (*source, error) {
	s.mu.Lock()
	shared := s.byPath[path]
	if shared == nil {
		shared = &sharedSource{}
		s.byPath[path] = shared
	}
	s.mu.Unlock()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	defer f.Close()
	before, err := stampOf(f)
	if err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	if have := shared.read.Value(); have != nil && have.stamp == before {
		return have, nil
	}
	began := time.Now()
	read, err := readSource(f, name, before.size)
	if err != nil {
		return nil, err
	}
	after, err := stampOf(f)
	if err == nil && after == before && before.size >= sharedFrom && began.Sub(time.Unix(before.status.Unix())) > tick {
		read.stamp = before
		shared.read = weak.Make(read)
	}
	return read, nil
}

// readSource reads a file, of which it makes no second copy in memory.
func readSource(f *os.File, name string, size int64) (*source, error) {
	if size > sourceLimit {
		return nil, tooLarge(name, size)
	}
	var content strings.Builder
	content.Grow(int(size))
	digest := sha256.New()
	n, err := io.Copy(io.MultiWriter(&content, digest), io.LimitReader(f, sourceLimit+1))
	if err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	if n > sourceLimit {
		return nil, tooLarge(name, n)
	}
	return &source{content: runtime.PlainText(content.String()), digest: hex.EncodeToString(digest.Sum(nil))}, nil
}

func tooLarge(name string, size int64) error {
	return runtime.WithHint(fmt.Errorf("source %s has %d MiB, and at most %d MiB are sent", name, size>>20, sourceLimit>>20),
		"put it into the nix store and copy it with nix.copy")
}
