package nix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"infra/runtime/remote"
)

// make has nix make the new lock file, elsewhere.
func (u updating) make(ctx context.Context, log io.Writer) ([]byte, error) {
	minor, err := u.version(ctx, log)
	if err != nil {
		return nil, err
	}
	if minor < 19 {
		return u.makeByOld(ctx, log)
	}
	dir, err := os.MkdirTemp("", "infra-lock")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "flake.lock")
	args := append([]string{"flake", "update", "--flake", u.flake, "--output-lock-file", path}, u.inputs...)
	if _, err := u.nixCommand(ctx, log, nil, args...); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nothing is new
	}
	return text, err
}

// makeByOld is for nix before 2.19, which can write a lock file only in its
// place, but tells what it would write.
func (u updating) makeByOld(ctx context.Context, log io.Writer) ([]byte, error) {
	args := []string{"flake", "metadata", "--json", "--no-write-lock-file"}
	for _, input := range u.inputs {
		args = append(args, "--update-input", input)
	}
	if len(u.inputs) == 0 {
		args = append(args, "--recreate-lock-file")
	}
	out, err := u.nixCommand(ctx, log, nil, append(args, u.flake)...)
	if err != nil {
		return nil, err
	}
	var said struct{ Locks json.RawMessage }
	if err := json.Unmarshal([]byte(out.Stdout), &said); err != nil {
		return nil, fmt.Errorf("nix flake metadata --json: %w", err)
	}
	return lockFile(said.Locks)
}

// nixVersion matches that of nix 2, of Lix, and the second of Determinate Nix's.
var nixVersion = regexp.MustCompile(`\b2\.([0-9]+)[^ ]*$`)

// version is n where nix is 2.n.
func (u updating) version(ctx context.Context, log io.Writer) (int, error) {
	out, err := u.here(log).script(ctx, "nix --version", remote.Command{}, `exec nix --version`)
	if err != nil {
		return 0, err
	}
	m := nixVersion.FindStringSubmatch(strings.TrimSpace(out.Stdout))
	if m == nil {
		return 0, fmt.Errorf("nix --version said %q, which is no version 2", strings.TrimSpace(out.Stdout))
	}
	return strconv.Atoi(m[1])
}
