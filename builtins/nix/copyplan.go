package nix

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"infra/runtime"
)

func (cp copying) predict(ctx context.Context) (runtime.Prediction, error) {
	absent, err := cp.storeOf(cp.to, io.Discard).invalid(ctx, cp.paths)
	if err != nil {
		return runtime.Prediction{}, err
	}
	if len(absent) == 0 {
		return runtime.Prediction{Verdict: runtime.NoChange}, nil
	}
	here := cp.here(io.Discard)
	unbuilt, err := here.invalid(ctx, absent)
	if err != nil {
		return runtime.Prediction{}, err
	}
	built := slices.DeleteFunc(absent, func(p string) bool { return slices.Contains(unbuilt, p) })
	missing, err := cp.missing(ctx, io.Discard, built)
	if err != nil {
		return runtime.Prediction{}, err
	}
	sizes, err := here.sizes(ctx, missing)
	if err != nil {
		return runtime.Prediction{}, err
	}
	detail := load(missing, sizes, unbuilt)
	way, err := cp.foreseenWay(ctx)
	if way != "" {
		detail += "\n" + way
	}
	return runtime.Prediction{Verdict: runtime.WillChange, Detail: detail}, err
}

// foreseenWay is [copying.way], for which a host need not be asked of its root.
func (cp copying) foreseenWay(ctx context.Context) (string, error) {
	e, err := cp.pool.Endpoint(ctx, cp.to)
	if err != nil || e.User == "root" {
		return cp.way(access{}), err
	}
	a, err := cp.access(ctx, io.Discard)
	return cp.way(a), err
}

// load says what would be sent: how much, and the largest paths by name. Of
// paths that are not built yet only they themselves are certain.
func load(missing []string, sizes []int64, unbuilt []string) string {
	var parts []string
	if len(missing) > 0 {
		parts = append(parts, fmt.Sprintf("%s, %s:%s", count(len(missing), "path"), human(sum(sizes)), largest(missing, sizes)))
	}
	if len(unbuilt) > 0 {
		not := "not built here yet, and sent with what they need:"
		if len(missing) > 0 {
			not = "and " + not
		}
		parts = append(parts, not+names(unbuilt)+"\nwhat they need, and how much it is, is known after the build")
	}
	return strings.Join(parts, "\n")
}

// largest lists the largest paths by name, the largest first.
func largest(paths []string, sizes []int64) string {
	const shown = 5
	order := make([]int, len(paths))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(sizes[b], sizes[a]), strings.Compare(paths[a], paths[b]))
	})
	lines := make([]string, len(order))
	for i, n := range order {
		lines[i] = (&runtime.StorePath{Path: paths[n]}).Name() + ", " + human(sizes[n])
	}
	return indented(lines, shown)
}

func sum(sizes []int64) int64 {
	var all int64
	for _, n := range sizes {
		all += n
	}
	return all
}
