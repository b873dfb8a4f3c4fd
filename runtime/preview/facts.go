package preview

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"infra/runtime"
	"infra/runtime/remote"
)

// A World is what a plan acts on, as far as it can change behind a preview's
// back.
type World struct {
	Root  string // the project
	Flake string // what "." means; "" is the project's own, if it has one
	Pool  *remote.Pool
	Hosts []*runtime.Host
}

// Observe looks at the tools, the flake and the hosts. It changes nothing.
func (w World) Observe(ctx context.Context) (Facts, error) {
	var facts Facts
	var flakeErr error
	var all sync.WaitGroup
	all.Go(func() { facts.Hosts = w.hosts(ctx) })
	all.Go(func() { facts.Flake, flakeErr = w.flake(ctx) })
	facts.Tools = w.tools(ctx)
	all.Wait()
	if ctx.Err() != nil {
		return Facts{}, context.Cause(ctx)
	}
	return facts, flakeErr
}

// atOnce bounds how many hosts are asked side by side.
const atOnce = 64

// hosts asks every host, by one command each.
func (w World) hosts(ctx context.Context) []Host {
	out := make([]Host, len(w.Hosts))
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, h := range w.Hosts {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			said, err := w.Pool.Output(ctx, h, "sh", "-c", hostScript)
			if out[i] = parseHost(said); err != nil {
				out[i] = Host{Unreachable: true}
			}
			out[i].Name = h.Name
		})
	}
	all.Wait()
	slices.SortFunc(out, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// hostScript is for any POSIX shell, of Linux and macOS: cd -P resolves links
// where there is no readlink -f.
const hostScript = `
resolve() { (cd -P "$1" 2>/dev/null && pwd -P); }
echo "system=$(resolve /run/current-system)"
echo "profile=$(resolve /nix/var/nix/profiles/system)"
echo "link=$(readlink /nix/var/nix/profiles/system)"
echo "boot=$(` + remote.BootScript + `)"
`

func parseHost(said string) Host {
	var h Host
	for l := range strings.Lines(said) {
		name, value, _ := strings.Cut(strings.TrimSpace(l), "=")
		switch name {
		case "system":
			h.System = value
		case "profile":
			h.Profile = value
		case "link":
			h.Generation = generation(value)
		case "boot":
			h.BootID = value
		}
	}
	return h
}

// generation is 43 for "system-43-link", and 0 for what is no generation.
func generation(link string) int {
	name := strings.TrimSuffix(filepath.Base(link), "-link")
	n, err := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:])
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// tools lists the versions of the programs that operations run here, without
// those that are not installed.
func (w World) tools(ctx context.Context) []Tool {
	asks := []struct {
		name string
		argv []string
	}{
		{"nix", []string{"nix", "--version"}},
		{"ssh", []string{"ssh", "-V"}}, // says it on stderr
	}
	out := make([]Tool, len(asks))
	var all sync.WaitGroup
	for i, ask := range asks {
		all.Go(func() {
			stdout, stderr, err := w.here(ctx, ask.argv...)
			if err == nil {
				out[i] = Tool{ask.name, firstLine(cmp.Or(stdout, stderr))}
			}
		})
	}
	all.Wait()
	return slices.DeleteFunc(out, func(t Tool) bool { return t.Name == "" })
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(line)
}

// flake asks nix what the flake's files and inputs are; nil where there is none.
func (w World) flake(ctx context.Context) (*Flake, error) {
	if w.Flake == "" && !w.hasFlake() {
		return nil, nil
	}
	stdout, stderr, err := w.here(ctx, "nix", "--extra-experimental-features", "nix-command flakes", "--no-warn-dirty",
		"flake", "metadata", "--json", "--no-write-lock-file", cmp.Or(w.Flake, w.Root))
	if errors.Is(err, exec.ErrNotFound) && w.Flake == "" {
		return nil, nil // without nix no operation can use it
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of the flake: %w\n%s", err, strings.TrimSpace(stderr))
	}
	f, err := parseFlake([]byte(stdout))
	if err != nil {
		return nil, fmt.Errorf("read the state of the flake: %w", err)
	}
	return f, nil
}

// hasFlake looks where nix does: in the root and, within one repository, above.
func (w World) hasFlake() bool {
	for dir := w.Root; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "flake.nix")); err == nil {
			return true
		}
		_, err := os.Stat(filepath.Join(dir, ".git"))
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return false
		}
	}
}

// parseFlake reads what nix flake metadata --json prints.
func parseFlake(data []byte) (*Flake, error) {
	var said struct {
		Path   string
		Locked struct{ NarHash string }
		Locks  json.RawMessage
		Source struct{ Type, Path string } `json:"resolved"`
	}
	if err := json.Unmarshal(data, &said); err != nil {
		return nil, fmt.Errorf("nix flake metadata: %w", err)
	}
	// The store path is that of the content too, for a nix that does not say the hash.
	f := &Flake{NarHash: cmp.Or(said.Locked.NarHash, said.Path)}
	if f.NarHash == "" {
		return nil, errors.New("nix flake metadata says neither a narHash nor a path")
	}
	var locks bytes.Buffer
	if err := json.Compact(&locks, said.Locks); err != nil {
		return nil, fmt.Errorf("nix flake metadata says no locks: %w", err)
	}
	sum := sha256.Sum256(locks.Bytes())
	f.Lock = hex.EncodeToString(sum[:])
	if said.Source.Type == "path" {
		f.folder = said.Source.Path
	}
	return f, nil
}

// Counts says whether a file at path, an absolute one, is a part of the flake
// whatever git says: writing it would change the flake.
func (f *Flake) Counts(path string) bool {
	if f == nil || f.folder == "" {
		return false
	}
	rel, err := filepath.Rel(f.folder, path)
	return err == nil && filepath.IsLocal(rel)
}

// here runs a program on this machine.
func (w World) here(ctx context.Context, argv ...string) (stdout, stderr string, err error) {
	var out, said bytes.Buffer
	exit, err := remote.Run(ctx, remote.Command{Argv: argv, Dir: w.Root, Stdout: &out, Stderr: &said})
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("%s exited with %d", argv[0], exit.Code)
	}
	return out.String(), said.String(), err
}
