package nix

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
	"infra/runtime/remote"
)

var generationsSpec = call.Spec{
	Name:    "nix.generations",
	Effect:  runtime.Read,
	Doc:     "Lists the generations of a host's system profile, oldest first.",
	Returns: "list of generations",
	Fields: []call.Field{
		{Name: "number", Type: "int", Doc: "as in system-42-link"},
		{Name: "path", Type: "store_path", Doc: "the system"},
		{Name: "current", Type: "bool", Doc: "the profile leads to this one"},
		{Name: "date", Type: "string", Doc: "when it was made, \"2026-11-22T21:29:00Z\""},
	},
	Example: `for g in nix.generations(vps):
    log("%d: %s" % (g.number, g.path))
`,
}

type generationsArgs struct {
	Host *runtime.Host `arg:"host" doc:"whose profile"`
}

// generationsScript prints the profile's link, then a line of time, link and
// path for each generation. GNU and BSD have each their own stat.
const generationsScript = `
dir=$1
readlink "$dir/system" || echo none
for link in "$dir"/system-*-link; do
  [ -L "$link" ] || continue
  made=$(stat -c %Y "$link" 2>/dev/null || stat -f %m "$link")
  printf '%s %s %s\n' "$made" "${link##*/}" "$(readlink "$link")"
done
`

func (m module) generations(c *call.Call, a generationsArgs) (starlark.Value, error) {
	op := runtime.Op{Host: a.Host.Name, Show: "generations of " + a.Host.Name, Looks: []string{profileDir}, Alters: runtime.Nothing}
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		out, err := m.storeOf(a.Host, log).script(ctx, "listing generations", remote.Command{}, generationsScript, profileDir)
		if err != nil {
			return runtime.Result{}, err
		}
		var list []starlark.Value
		for _, g := range parseGenerations(out.Stdout) {
			list = append(list, g.record())
		}
		return runtime.Result{Value: starlark.NewList(list)}, nil
	}
	return c.Value(op)
}

// A generation is one entry of a host's system profile.
type generation struct {
	number  int
	path    string
	current bool
	date    time.Time
}

// parseGenerations reads what generationsScript prints.
func parseGenerations(stdout string) []generation {
	first, rest, _ := strings.Cut(stdout, "\n")
	var gs []generation
	for line := range strings.Lines(rest) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		number, ok := generationOf(fields[1])
		made, err := strconv.ParseInt(fields[0], 10, 64)
		if !ok || err != nil {
			continue
		}
		gs = append(gs, generation{number: number, path: fields[2],
			current: fields[1] == strings.TrimSpace(first), date: time.Unix(made, 0).UTC()})
	}
	slices.SortFunc(gs, func(a, b generation) int { return cmp.Compare(a.number, b.number) })
	return gs
}

// generationOf reads the number in "system-42-link".
func generationOf(link string) (int, bool) {
	text, ok := strings.CutPrefix(link[strings.LastIndexByte(link, '/')+1:], "system-")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(text, "-link"))
	return n, err == nil
}

func (g generation) record() *runtime.Record {
	return runtime.NewRecord("generation",
		runtime.Field{Name: "number", Value: starlark.MakeInt(g.number)},
		runtime.Field{Name: "path", Value: &runtime.StorePath{Path: g.path}},
		runtime.Field{Name: "current", Value: starlark.Bool(g.current)},
		runtime.Field{Name: "date", Value: starlark.String(g.date.Format(time.RFC3339))})
}
