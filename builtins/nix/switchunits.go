package nix

import (
	"context"
	"fmt"
	"io"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
	"infra/runtime/remote"
)

// units asks what an activation would do to the host's units, as text. Where the
// host has not got the system yet, a preview does not know. A run does not ask: the
// activation itself tells, and a dry one before it takes as long as many a real one.
func (s switching) units(c *call.Call, b before) (string, error) {
	if s.Host.Kind() == runtime.Darwin || !b.foreseen {
		return "", nil
	}
	op := s.operation("units", s.System.Path+"/"+switchProgram+" dry-activate")
	op.Looks = []string{storeDir, "/run/current-system"}
	op.NotKnown = func() starlark.Value { return s.unknown.As(runtime.StringShape) }
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		out, err := s.storeOf(s.Host, log).script(ctx, "asking which units would change", remote.Command{Sudo: true},
			`[ -x "$1" ] || exit 0; "$1" dry-activate 2>&1; echo "ended=$?"`, s.System.Path+"/"+switchProgram)
		if err != nil {
			return runtime.Result{}, err
		}
		text := unitChanges(out.Stdout)
		if out.Stdout == "" {
			text = unitsUnknown
		}
		if text != "" {
			fmt.Fprintln(log, text)
		}
		return runtime.Result{Value: starlark.String(text)}, nil
	}
	r, err := c.Read(op)
	if err != nil {
		return "", err
	}
	if text, ok := starlark.AsString(r.Value); ok {
		return text, nil
	}
	return unitsUnknown, nil
}

const unitsUnknown = "which units stop and start is known after the copy"

// unitChanges reads what a dry activation printed: a line for each thing that it
// would do to units.
func unitChanges(printed string) string {
	var lines []string
	for line := range strings.Lines(printed) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "ended=100") {
			lines = append(lines, "needs a reboot: it is made the system of the next boot")
			continue
		}
		rest, would := strings.CutPrefix(line, "would ")
		if !would {
			continue
		}
		does, units, listed := strings.Cut(rest, ":")
		switch does = strings.TrimSuffix(strings.Replace(does, "the following ", "", 1), " units"); {
		case listed && len(unitList(units)) > 0:
			lines = append(lines, does+": "+strings.Join(unitList(units), ", "))
		case !listed && strings.HasPrefix(does, "restart systemd"):
			lines = append(lines, "restart systemd")
		}
	}
	return strings.Join(lines, "\n")
}
