package clan

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
	"infra/runtime/remote"
)

// A driver is what the functions that start clan work with.
type driver struct {
	Clan
	pool  *remote.Pool
	dir   string // the clan's folder: that of its flake; absolute
	cache string // where clan's flags are kept; "" is nowhere
}

// Driving returns the functions of the module that start clan. They reach hosts
// through pool.
func (cl Clan) Driving(pool *remote.Pool) []call.Spec {
	d := driver{Clan: cl, pool: pool}
	if cache, err := os.UserCacheDir(); err == nil {
		d.cache = filepath.Join(cache, "infra", "clan")
	}
	return []call.Spec{
		call.New(generateSpec, in(d, driver.generate)),
		call.New(setSpec, in(d, driver.set)),
		call.New(installSpec, in(d, driver.install)),
		call.New(hardwareSpec, in(d, driver.hardware)),
	}
}

// in finds the clan's folder when a function is called, and not before.
func in[A any](d driver, fn func(driver, *call.Call, A) (starlark.Value, error)) func(*call.Call, A) (starlark.Value, error) {
	return func(c *call.Call, a A) (starlark.Value, error) {
		dir, err := d.folder()
		if err != nil {
			return nil, err
		}
		if d.dir, err = filepath.Abs(dir); err != nil {
			return nil, err
		}
		if info, err := os.Stat(d.dir); err != nil || !info.IsDir() {
			return nil, runtime.WithHint(fmt.Errorf("clan writes into its flake's folder, and %s is none", d.dir), "--flake names the folder of the flake")
		}
		return fn(d, c, a)
	}
}

// argv is the argument list of an invocation for the clan that is installed.
// It starts nothing but, once, clan's help.
func (d driver) argv(ctx context.Context, i invocation) ([]string, error) {
	known, err := d.flags(ctx, i.leaf)
	if err != nil {
		return nil, err
	}
	i.flake = d.dir
	argv, err := i.argv(known)
	if err != nil {
		return nil, runtime.WithHint(err, "clan %s --help shows what it has; a newer or older clan is needed", i.leaf)
	}
	return argv, nil
}
