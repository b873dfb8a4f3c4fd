package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
)

// A declaration is a host, and the file whose reading declares it.
type declaration struct {
	file string // from the project's root
	host *runtime.Host
}

// An unread is a file that could not be read, and why.
type unread struct {
	file string
	err  error
}

// declarations are the hosts that files declare, those that are the same in several
// once. Reading them has no effect, and what they print is not shown.
func declarations(ctx context.Context, root string, paths []string) (found []declaration, not []unread) {
	e := engine.New(root, builtins.All(builtins.Deps{Root: root}))
	ctx = runtime.WithPrint(ctx, func(string) {})
	for _, path := range paths {
		file := fromRoot(root, path)
		hosts, err := e.Hosts(ctx, path)
		if err != nil {
			not = append(not, unread{file, err})
		}
		for _, h := range hosts {
			if !slices.ContainsFunc(found, func(d declaration) bool { return sameHost(d.host, h) }) {
				found = append(found, declaration{file, h})
			}
		}
	}
	return found, not
}

// sameHost says whether two declarations make the same of a host.
func sameHost(a, b *runtime.Host) bool {
	return a.Name == b.Name && a.System == b.System && a.SSH == b.SSH
}

// declaredHost is the host of that name which the project's plan files declare, or the
// one that is named. A file that cannot be read keeps nobody from a host that another
// one declares.
func (a *app) declaredHost(ctx context.Context, root, name, plan string) (*runtime.Host, error) {
	paths := interp.PlanFiles(root)
	if plan != "" {
		path, err := filepath.Abs(plan)
		if err != nil {
			return nil, err
		}
		paths = []string{path}
	}
	found, not := declarations(ctx, root, paths)
	if plan != "" && len(not) > 0 {
		return nil, not[0].err
	}
	theirs := slices.DeleteFunc(slices.Clone(found), func(d declaration) bool { return d.host.Name != name })
	switch len(theirs) {
	case 0:
		return nil, undeclared(name, plan, found, not)
	case 1:
		for _, u := range not {
			fmt.Fprintf(a.words(), "%s cannot be read, and may declare %s too: %s\n", u.file, name, firstProblem(u.err))
		}
		return theirs[0].host, nil
	}
	var lines []string
	for _, d := range theirs {
		lines = append(lines, fmt.Sprintf("%s: host(%q, system = %q, ssh = %q)", d.file, d.host.Name, d.host.System, d.host.SSH))
	}
	return nil, runtime.WithHint(fmt.Errorf("the project's plan files declare %s in different ways:%s", name, bullets(lines)), "say which counts: --plan %s", theirs[0].file)
}

// undeclared is the error about a host that no file declares.
func undeclared(name, plan string, found []declaration, not []unread) error {
	var names, broken []string
	for _, d := range found {
		names = append(names, d.host.Name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, u := range not {
		broken = append(broken, u.file+" cannot be read: "+firstProblem(u.err))
	}
	where := "no plan file of the project declares"
	if plan != "" {
		where = plan + " does not declare"
	}
	err := fmt.Errorf("%s a host %q%s", where, name, bullets(broken))
	return notThere(err, name, names,
		fmt.Sprintf(`a host is declared by host("%s", system = "x86_64-linux") in a .star file of the project's root, or of its folder plans; --plan names another file`, name))
}

// firstProblem is what is wrong with a file, in one line.
func firstProblem(err error) string {
	var problems runtime.Problems
	if errors.As(err, &problems) {
		return oneLine(fmt.Sprintf("%s: %s", problems[0].Pos, problems[0].Msg))
	}
	return oneLine(err.Error())
}
