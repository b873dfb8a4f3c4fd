package remote

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"infra/runtime"
)

// A File is what a file on a host shall be.
type File struct {
	Path    string
	Content runtime.Text
	Mode    fs.FileMode // permission bits, and setuid, setgid and sticky
	Owner   string      // "user:group"; "" is the login, or root with Sudo
	Sudo    bool
}

// Check says why [Pool.Put] refuses the file without asking the host.
func (f File) Check() error { return checkFile(f) }

// putScript writes a file beside its target and then takes the target's place,
// once it is whole. It needs no watchdog: it reads as long as there is input,
// and leaves nothing when there is too little.
const putScript = `
IFS= read -r __c && eval "$__c" || exit 125;
echo ` + started + ` >&2;
[ -d "$__p" ] && { echo "is a directory" >&2; exit 1; };
umask $__u; mkdir -p "$__d" || exit 1; umask 077;
__t=$(mktemp "$__d/.infra.XXXXXX") || exit 1;
trap "rm -f \"\$__t\"" EXIT;
trap "exit 1" HUP INT TERM PIPE;
head -c $__l >"$__t" || exit 1;
[ $(wc -c <"$__t") -eq $__l ] || { echo "the content did not arrive whole" >&2; exit 1; };
if [ -n "$__o" ]; then chown "$__o" "$__t" || exit 1; fi;
chmod $__m "$__t" && mv -f "$__t" "$__p"`

// folderMask is the umask for the folders that a file still lacks: where only
// the owner may read the file, only the owner may enter them.
func folderMask(mode fs.FileMode) string {
	if mode.Perm()&0o077 == 0 {
		return "077"
	}
	return "022"
}

// Put makes a file, atomically: whoever reads it sees the old content or all of
// the new. Folders that it lacks are made. A symbolic link in its place is replaced, not followed.
func (p *Pool) Put(ctx context.Context, h *runtime.Host, f File) error {
	if err := checkFile(f); err != nil {
		return err
	}
	c, err := p.to(ctx, h)
	if err != nil {
		return err
	}
	content := f.Content.Reveal()
	said := &tail{limit: errorLimit}
	defer c.changed()
	status, err := c.run(ctx, job{
		script: putScript, sudo: f.Sudo, grace: p.config.Grace, stderr: said,
		input: io.MultiReader(strings.NewReader(putHead(f, len(content))), strings.NewReader(content)),
	})
	if err == nil && status != 0 {
		err = fmt.Errorf("exit status %d: %s", status, strings.TrimSpace(said.String()))
	}
	if err != nil {
		return fmt.Errorf("writing %s on %s: %w", f.Path, h.Name, err)
	}
	return nil
}

// putHead is what putScript reads before the content.
func putHead(f File, size int) string {
	target := operand(f.Path)
	return script("__p="+quote(target), "__d="+quote(operand(path.Dir(target))), "__o="+quote(f.Owner),
		"__u="+folderMask(f.Mode), fmt.Sprintf("__m=%04o", unixMode(f.Mode)), fmt.Sprintf("__l=%d", size)) + "\n"
}

func checkFile(f File) error {
	switch {
	case f.Path == "" || strings.HasSuffix(f.Path, "/") || strings.ContainsRune(f.Path, 0):
		return fmt.Errorf("%q is no path of a file", f.Path)
	case strings.HasPrefix(f.Owner, "-") || strings.ContainsAny(f.Owner, "\x00\n"):
		return fmt.Errorf("%q is no owner; want user:group", f.Owner)
	}
	return nil
}

// describeScript prints nothing where $1 is not, and else the type, the mode,
// the size, the owner and the SHA-256, a line each. GNU and busybox have
// stat -c and sha256sum; macOS has stat -f and shasum.
const describeScript = `
f=$1
if ! [ -e "$f" ]; then
  while [ "$f" != / ] && [ "$f" != . ]; do
    f=$(dirname "$f")
    [ -e "$f" ] && break
  done
  [ -d "$f" ] && ! [ -x "$f" ] && { echo "permission denied: $f" >&2; exit 1; }
  exit 0
fi
if [ -f "$f" ]; then echo file; elif [ -d "$f" ]; then echo directory; else echo other; fi
stat -L -c "%a
%s
%U:%G" "$f" 2>/dev/null || stat -L -f "%Mp%Lp
%z
%Su:%Sg" "$f" || exit 1
`

const digestScript = `
[ -f "$f" ] || exit 0
if command -v sha256sum >/dev/null; then sha256sum <"$f"; else shasum -a 256 <"$f"; fi
`

// contentScript prints at most $2 bytes.
const contentScript = `
[ -f "$f" ] || { echo "not a regular file" >&2; exit 1; }
head -c "$2" <"$f"
`

// Info is what a file on a host is. Symbolic links are followed.
type Info struct {
	Exists bool
	SHA256 string // in hexadecimal; "" where it is no regular file
	Size   int64
	Mode   fs.FileMode
	Owner  string // "user:group"
}

// Stat describes a file on h. A file that does not exist is no error.
func (p *Pool) Stat(ctx context.Context, h *runtime.Host, path string, sudo bool) (Info, error) {
	out, err := p.fileOutput(ctx, h, describeScript+digestScript, path, sudo, outputLimit)
	if err != nil {
		return Info{}, fmt.Errorf("looking at %s on %s: %w", path, h.Name, err)
	}
	info, rest, err := parseDescription(out)
	if err != nil {
		return Info{}, fmt.Errorf("looking at %s on %s: %w", path, h.Name, err)
	}
	info.SHA256, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
	return info, nil
}

// getLimit is what Get reads where it is given no limit.
const getLimit = 64 << 20

// Get reads a file of at most limit bytes, or of 64 MiB where limit is 0. The
// error of a file that does not exist is an fs.ErrNotExist.
func (p *Pool) Get(ctx context.Context, h *runtime.Host, path string, sudo bool, limit int64) ([]byte, fs.FileMode, error) {
	if limit <= 0 {
		limit = getLimit
	}
	const head = 4 << 10 // more than a description
	out, err := p.fileOutput(ctx, h, describeScript+contentScript, path, sudo, limit+head, strconv.FormatInt(limit+1, 10))
	if err != nil {
		return nil, 0, fmt.Errorf("reading %s on %s: %w", path, h.Name, err)
	}
	info, content, err := parseDescription(out)
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("reading %s on %s: %w", path, h.Name, err)
	case !info.Exists:
		return nil, 0, fmt.Errorf("reading on %s: %w", h.Name, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist})
	case int64(len(content)) > limit:
		return nil, 0, fmt.Errorf("reading %s on %s: it is larger than %d bytes", path, h.Name, limit)
	}
	return []byte(content), info.Mode, nil
}

func (p *Pool) fileOutput(ctx context.Context, h *runtime.Host, script, path string, sudo bool, limit int64, args ...string) (string, error) {
	stdout, stderr := &whole{limit: limit}, &tail{limit: errorLimit}
	argv := append([]string{"/bin/sh", "-c", script, "sh", operand(path)}, args...)
	exit, err := p.Run(ctx, h, Command{Argv: argv, Sudo: sudo, Reads: true, Stdout: stdout, Stderr: stderr})
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("%s", strings.TrimSpace(stderr.String()))
	}
	return string(stdout.buf), err
}

// parseDescription reads what describeScript printed, and returns what follows.
func parseDescription(out string) (info Info, rest string, err error) {
	if out == "" {
		return Info{}, "", nil
	}
	lines := strings.SplitN(out, "\n", 5)
	if len(lines) < 5 {
		return Info{}, "", fmt.Errorf("the host describes it as %q", out)
	}
	mode, err1 := strconv.ParseUint(lines[1], 8, 16)
	size, err2 := strconv.ParseInt(lines[2], 10, 64)
	if err1 != nil || err2 != nil {
		return Info{}, "", fmt.Errorf("the host describes it as %q", lines[:4])
	}
	info = Info{Exists: true, Size: size, Mode: fileMode(uint32(mode)), Owner: lines[3]}
	if lines[0] == "directory" {
		info.Mode |= fs.ModeDir
	}
	return info, lines[4], nil
}

// The bits that Go keeps elsewhere than Unix does.
var specialBits = []struct {
	unix uint32
	mode fs.FileMode
}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}}

func unixMode(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	for _, b := range specialBits {
		if mode&b.mode != 0 {
			bits |= b.unix
		}
	}
	return bits
}

func fileMode(bits uint32) fs.FileMode {
	mode := fs.FileMode(bits & 0o777)
	for _, b := range specialBits {
		if bits&b.unix != 0 {
			mode |= b.mode
		}
	}
	return mode
}
