package clan

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

// A hostState is what a host is before, or after, it is installed.
type hostState struct {
	Installer bool
	System    string // what nix says it runs; "" is nothing of nix's
	Name      string // what it calls itself
	OS        string
	disks     []disk
}

type disk struct {
	Name       string  `json:"name"`
	Type       string  `json:"type"`
	Size       string  `json:"size"`
	FSType     *string `json:"fstype"`
	Label      *string `json:"label"`
	Mountpoint *string `json:"mountpoint"`
	Model      *string `json:"model"`
	Children   []disk  `json:"children"`
}

// looksAtHost only reads. nixos-anywhere knows an installer by the same word.
const looksAtHost = `printf 'name %s\n' "$(uname -n)"
printf 'system %s\n' "$(readlink -f /run/current-system 2>/dev/null)"
sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\).*/os \1/p; s/^VARIANT_ID="\{0,1\}installer"\{0,1\}$/installer/p' /etc/os-release 2>/dev/null
echo disks
exec lsblk --json -o NAME,TYPE,SIZE,FSTYPE,LABEL,MOUNTPOINT,MODEL 2>/dev/null`

// look asks a host what it is.
func (d driver) look(ctx context.Context, h *runtime.Host) (hostState, error) {
	out, err := command.Query(ctx, command.On(d.pool, h), remote.Command{Argv: []string{"sh", "-c", looksAtHost}}, io.Discard)
	if err != nil {
		return hostState{}, err
	}
	return parseHost(out.Stdout), nil
}

// parseHost reads what looksAtHost printed. A host without lsblk has no disks
// that can be shown.
func parseHost(text string) hostState {
	var s hostState
	head, disks, _ := strings.Cut(text, "disks\n")
	for line := range strings.Lines(head) {
		what, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch what {
		case "installer":
			s.Installer = true
		case "system":
			if strings.HasPrefix(value, "/nix/store/") {
				s.System = value
			}
		case "name":
			s.Name = value
		case "os":
			s.OS = value
		}
	}
	var list struct {
		Blockdevices []disk `json:"blockdevices"`
	}
	if json.Unmarshal([]byte(disks), &list) == nil {
		s.disks = list.Blockdevices
	}
	return s
}

// String is what a person reads before they say that all of it may be erased.
func (s hostState) String() string {
	var b strings.Builder
	what := "a system that lives"
	if s.Installer {
		what = "an installer"
	}
	fmt.Fprintf(&b, "it is %s: %s, which calls itself %s", what, strings.TrimSpace(s.OS+" "+s.System), s.Name)
	if len(s.disks) == 0 {
		b.WriteString("\nits disks cannot be listed; they will be erased")
		return b.String()
	}
	b.WriteString("\nits disks, which will be erased, are now:")
	for _, d := range s.disks {
		d.write(&b, "  ")
	}
	return b.String()
}

// write adds a line for the disk and one for each of its parts, but those that
// are no disks: a loop device shows a file.
func (d disk) write(b *strings.Builder, indent string) {
	if d.Type == "loop" || d.Type == "rom" || len(indent) > 20 {
		return
	}
	b.WriteString("\n" + indent + d.Name + " " + d.Size)
	for _, text := range []*string{d.FSType, d.Label, d.Model, d.Mountpoint} {
		if text != nil && strings.TrimSpace(*text) != "" {
			b.WriteString(" " + strings.TrimSpace(*text))
		}
	}
	for _, c := range d.Children {
		c.write(b, indent+"  ")
	}
}
