package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"infra/builtins/internal/command"
	"infra/builtins/internal/file"
	"infra/runtime"
	"infra/runtime/remote"
)

// putting is one file on its way to a host.
type putting struct {
	module
	putArgs
	mode  fs.FileMode
	have  *source // what was compared, and is sent
	owner string  // the host's file's, "user:group"; "" where there is none
}

func (p *putting) show() string {
	if p.Content != nil {
		return p.Path
	}
	return p.Source + " -> " + p.Path
}

func (p *putting) file() remote.File {
	f := remote.File{Path: p.Path, Mode: p.mode, Owner: p.Owner, Sudo: p.Sudo}
	if p.have != nil {
		f.Content = p.have.content
	}
	return f
}

// write lets go of the content: an operation stays as long as its step.
func (p *putting) write(ctx context.Context) error {
	defer func() { p.have = nil }()
	return p.pool.Put(ctx, p.Host, p.file())
}

// compare has an entry for everything in which the host's file is different.
func (p *putting) compare(ctx context.Context) ([]string, error) {
	have, err := p.wanted()
	if err != nil {
		return nil, err
	}
	p.have = have
	info, err := p.pool.Stat(ctx, p.Host, p.Path, p.Sudo)
	if err != nil {
		return nil, err
	}
	p.owner = info.Owner
	wanted := file.Wanted{Path: p.Path, Content: have.content, Digest: have.digest, Mode: p.mode, Owner: p.Owner}
	if !info.Exists {
		return wanted.Creation(), nil
	}
	if info.SHA256 == "" {
		return nil, fmt.Errorf("%s is there and is no file", p.Path)
	}
	differs := wanted.Differences(file.Actual{
		Size: info.Size, Mode: info.Mode, Digest: info.SHA256,
		Read: func() ([]byte, error) {
			have, _, err := p.pool.Get(ctx, p.Host, p.Path, p.Sudo, file.DiffLimit)
			return have, err
		},
	})
	if p.Owner != "" && !ownedBy(info.Owner, p.Owner) {
		differs = append(differs, fmt.Sprintf("owner %s -> %s", info.Owner, p.Owner))
	}
	return differs, nil
}

func (p *putting) wanted() (*source, error) {
	if p.Content != nil {
		return &source{content: *p.Content}, nil
	}
	return p.sources.open(p.sourcePath(), p.Source)
}

func (p *putting) sourcePath() string {
	if filepath.IsAbs(p.Source) {
		return p.Source
	}
	return filepath.Join(p.root, p.Source)
}

// here are the names of the local file that is put.
func (p *putting) here() []string {
	if p.Source == "" {
		return nil
	}
	if names := file.Names(p.sourcePath()); names != nil {
		return names
	}
	return []string{"/"}
}

// ownedBy says whether have, "user:group", is what was asked for: "user",
// "user:group" or ":group".
func ownedBy(have, want string) bool {
	haveUser, haveGroup, _ := strings.Cut(have, ":")
	wantUser, wantGroup, _ := strings.Cut(want, ":")
	return (wantUser == "" || wantUser == haveUser) && (wantGroup == "" || wantGroup == haveGroup)
}

// writerScript says who would write into the folder $1, which may have to be
// made first, or why nobody can.
const writerScript = `
d=$1
refuse() { printf '%s %s\n' "$d" "$1" >&2; exit 1; }
while ! [ -e "$d" ]; do
  [ -L "$d" ] && refuse "is a link that leads nowhere"
  d=$(dirname "$d")
done
[ -d "$d" ] || refuse "is no folder"
[ -w "$d" ] && [ -x "$d" ] || refuse "cannot be written"
id -un
`

// foresee says what writing alters besides what was asked for: a file that is
// replaced gets the owner that writes it. It fails where writing would.
func (p *putting) foresee(ctx context.Context) ([]string, error) {
	folder := path.Dir(p.Path)
	if strings.HasPrefix(folder, "-") {
		folder = "./" + folder
	}
	cmd := remote.Command{Argv: []string{"/bin/sh", "-c", writerScript, "sh", folder}, Sudo: p.Sudo}
	out, err := command.Query(ctx, command.On(p.pool, p.Host), cmd, io.Discard)
	if err != nil {
		return nil, err
	}
	if out.Exit.Code != 0 {
		err := fmt.Errorf("writing %s on %s: %w", p.Path, p.Host.Name, errors.New(command.LastLines(out.Stderr, 3)))
		if !p.Sudo {
			return nil, runtime.WithHint(err, "sudo = True writes it as root")
		}
		return nil, err
	}
	had, _, _ := strings.Cut(p.owner, ":")
	writer := strings.TrimSpace(out.Stdout)
	if p.Owner == "" && had != "" && had != writer {
		return []string{fmt.Sprintf("owner %s -> %s", had, writer)}, nil
	}
	return nil, nil
}
