package ssh

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/file"
	"infra/runtime"
	"infra/runtime/remote"
)

// sourceLimit is the largest local file that put sends; it is held in memory.
const sourceLimit = 64 << 20

var putSpec = call.Spec{
	Name:   "ssh.put",
	Effect: runtime.Change,
	Doc: "Puts a file on a host, and makes the folders it lies in: the given content, or a local file. Content, mode and owner are compared first, " +
		"and nothing is sent when they are right already.",
	Returns: "put_result",
	Fields: []call.Field{
		{Name: "changed", Type: "bool", Doc: "whether the file was written"},
		{Name: "path", Type: "string", Doc: "the file on the host"},
	},
	Example: `done = ssh.put(mac, "/tmp/motd", content = "managed by infra\n")
if done.changed:
    log("the message of the day is new")
`,
}

type putArgs struct {
	Host    *runtime.Host `arg:"host" doc:"where to"`
	Path    string        `arg:"path" doc:"the file on the host"`
	Content *runtime.Text `arg:"content" default:"" doc:"what the file shall hold"`
	Source  string        `arg:"source,keyword" default:"" doc:"in place of content: a local file, from the project's root"`
	Mode    string        `arg:"mode,keyword" default:"0644" doc:"its permissions, octal"`
	Owner   string        `arg:"owner,keyword" default:"" doc:"its owner, \"user\" or \"user:group\"; the login, or root with sudo, if not given"`
	Sudo    bool          `arg:"sudo,keyword" default:"False" doc:"write it as root"`
}

func (m module) put(c *call.Call, a putArgs) (starlark.Value, error) {
	if (a.Content == nil) == (a.Source == "") {
		return nil, errors.New("ssh.put: give either content or source")
	}
	mode, err := file.ParseMode(a.Mode)
	if err != nil {
		return nil, fmt.Errorf("ssh.put: %w", err)
	}
	p := &putting{module: m, putArgs: a, mode: mode}
	r := file.Replacement{Kind: "put_result", Path: a.Path, Compare: p.compare, Write: p.write}
	return c.Value(runtime.Op{Host: a.Host.Name, Show: p.show(), Predict: r.Predict, Run: r.Run})
}

// putting is one file on its way to a host.
type putting struct {
	module
	putArgs
	mode    fs.FileMode
	content runtime.Text // what was compared, and is sent
}

func (p *putting) show() string {
	if p.Content != nil {
		return p.Path
	}
	return p.Source + " -> " + p.Path
}

func (p *putting) write(ctx context.Context) error {
	return p.pool.Put(ctx, p.Host, remote.File{Path: p.Path, Content: p.content, Mode: p.mode, Owner: p.Owner, Sudo: p.Sudo})
}

// compare has a line for everything in which the host's file is different.
func (p *putting) compare(ctx context.Context) ([]string, error) {
	content, err := p.wanted()
	if err != nil {
		return nil, err
	}
	p.content = content
	info, err := p.pool.Stat(ctx, p.Host, p.Path, p.Sudo)
	if err != nil {
		return nil, err
	}
	wanted := file.Wanted{Path: p.Path, Content: content, Mode: p.mode}
	if !info.Exists {
		return []string{wanted.Creation()}, nil
	}
	if info.SHA256 == "" {
		return nil, fmt.Errorf("%s is there and is no file", p.Path)
	}
	sum := sha256.Sum256([]byte(content.Reveal()))
	differs := wanted.Differences(file.Actual{
		Size: info.Size, Mode: info.Mode, Same: info.SHA256 == hex.EncodeToString(sum[:]),
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

func (p *putting) wanted() (runtime.Text, error) {
	if p.Content != nil {
		return *p.Content, nil
	}
	path := p.Source
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.root, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return runtime.Text{}, fmt.Errorf("read source: %w", err)
	}
	if info.Size() > sourceLimit {
		return runtime.Text{}, runtime.WithHint(fmt.Errorf("source %s has %d MiB, and at most %d MiB are sent", p.Source, info.Size()>>20, sourceLimit>>20),
			"put it into the nix store and copy it with nix.copy")
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return runtime.Text{}, fmt.Errorf("read source: %w", err)
	}
	return runtime.PlainText(string(content)), nil
}

// ownedBy says whether have, "user:group", is what was asked for: "user",
// "user:group" or ":group".
func ownedBy(have, want string) bool {
	haveUser, haveGroup, _ := strings.Cut(have, ":")
	wantUser, wantGroup, _ := strings.Cut(want, ":")
	return (wantUser == "" || wantUser == haveUser) && (wantGroup == "" || wantGroup == haveGroup)
}
