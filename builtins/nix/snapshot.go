package nix

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// snapshots are the folders of flakes, as nix has copied them to the store. Every nix
// copies and hashes the whole folder of a flake that git does not know, only to
// find in the end that the store has it: where a run asks a second time,
// and no file has changed, nix is given the copy, which is the same to all
// that a flake can see. Of what git knows, nix itself remembers that.
type snapshots struct {
	mu sync.Mutex
	of map[string]*snapshot // by the flake's reference
}

// A snapshot is one flake's.
type snapshot struct {
	turn  chan struct{} // who has put something in looks at it
	state string        // of the folder, when it was asked for last; "" never was
	copy  string        // the reference of the copy of that; "" has none
	never bool          // nix has not taken the copy as the same
}

func newSnapshots() *snapshots { return &snapshots{of: map[string]*snapshot{}} }

func (s *snapshots) at(ref string) *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[ref] == nil {
		s.of[ref] = &snapshot{turn: make(chan struct{}, 1)}
	}
	return s.of[ref]
}

// copied is the installable of the copy in the store of an installable's flake; "" where there is none.
func (m module) copied(ctx context.Context, installable string) string {
	ref, attribute, _ := strings.Cut(installable, "#")
	folder := m.plainFolder(ref)
	if m.snapshots == nil || folder == "" || strings.Contains(ref, "^") {
		return ""
	}
	s := m.snapshots.at(ref)
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ""
	}
	state := folderState(folder, m.own(), time.Now())
	switch {
	case s.never || state == "":
		return ""
	case state != s.state: // who asks once is served best by one nix
		s.state, s.copy = state, ""
		return ""
	case s.copy == "":
		s.copy = m.copyOf(ctx, ref)
		if folderState(folder, m.own(), time.Now()) != state {
			s.state, s.copy = "", ""
		}
		s.never = s.copy == "" && s.state != "" && ctx.Err() == nil
	}
	if s.copy == "" {
		return ""
	}
	return s.copy + "#" + attribute
}

// own is the folder of the project that infra itself writes to all the time.
func (m module) own() string {
	root, err := filepath.EvalSymlinks(m.root)
	if err != nil {
		return ""
	}
	return filepath.Join(root, ".infra")
}

// distrust keeps nix from the copy of an installable's flake.
func (m module) distrust(ctx context.Context, installable string) {
	ref, _, _ := strings.Cut(installable, "#")
	s := m.snapshots.at(ref)
	select {
	case s.turn <- struct{}{}:
		s.never = true
		<-s.turn
	case <-ctx.Done():
	}
}

// plainFolder is the folder of a flake of which nix copies the whole folder each time;
// "" where it does not, or where that is not known.
func (m module) plainFolder(ref string) string {
	name, _, _ := strings.Cut(ref, "?")
	paths, beyond := m.looks(ref)
	if beyond || len(paths) == 0 || inStore(name) || strings.Contains(name, "%") {
		return ""
	}
	scheme := scheme.FindStringSubmatch(name)
	if scheme != nil && scheme[1] != "path" {
		return ""
	}
	folder, err := filepath.EvalSymlinks(paths[0])
	if err != nil || inStore(folder) {
		return ""
	}
	var st unix.Stat_t
	if scheme == nil && unix.Lstat(filepath.Join(folder, ".git"), &st) == nil {
		return ""
	}
	return folder
}

// copyOf has nix copy a flake, and returns the reference of the copy: "" where nix would see
// the flake as anything but a folder, since the copy then lacks what git tells of it.
func (m module) copyOf(ctx context.Context, ref string) string {
	out, err := m.nixCommand(ctx, io.Discard, nil, "flake", "metadata", "--no-write-lock-file", "--json", ref)
	if err != nil {
		return ""
	}
	return copyReference(out.Stdout)
}

// copyReference reads the answer of nix flake metadata --json.
func copyReference(metadata string) string {
	var said struct {
		Path   string
		Locked struct {
			Type, NarHash, Dir, Rev string
			LastModified, RevCount  *int64
		}
		Resolved struct{ Dir string }
	}
	if json.Unmarshal([]byte(metadata), &said) != nil {
		return ""
	}
	l := said.Locked
	if l.Type != "path" || l.NarHash == "" || !isPath.MatchString(said.Path) || l.Rev != "" || l.RevCount != nil {
		return ""
	}
	query := url.Values{"narHash": {l.NarHash}}
	if l.LastModified != nil {
		query.Set("lastModified", strconv.FormatInt(*l.LastModified, 10))
	}
	for _, dir := range []string{l.Dir, said.Resolved.Dir} {
		if dir != "" {
			query.Set("dir", dir)
		}
	}
	return "path:" + said.Path + "?" + query.Encode()
}

// tick is more than the time within which a file can be written twice and show it once.
const tick = 50 * time.Millisecond

// folderState is a digest of how all files of a folder are, as far as that shows without
// reading them; "" where a change might not show. What infra itself writes does not count.
func folderState(folder, own string, now time.Time) string {
	digest := sha256.New()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == own && entry.IsDir() {
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if now.Sub(time.Unix(st.Ctim.Unix())) < tick {
			return fmt.Errorf("%s is being written", path)
		}
		digest.Write([]byte(path + "\x00"))
		changed, written := st.Ctim.Nano(), st.Mtim.Nano()
		return binary.Write(digest, binary.LittleEndian, []int64{int64(st.Dev), int64(st.Ino), int64(st.Mode), st.Size, changed, written})
	})
	if err != nil {
		return ""
	}
	return string(digest.Sum(nil))
}
