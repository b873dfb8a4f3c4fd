package interp

import (
	"context"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// Hosts returns the hosts that the file at path declares, with all that it loads. It
// need not bind a plan. As for [Interp.Read], the error is [runtime.Problems] where
// the files are at fault.
func (in *Interp) Hosts(ctx context.Context, path string) (hosts []*runtime.Host, err error) {
	_, _, err = in.readFor(ctx, path, in.Forms.inRun(), maxSteps, func(_ *File, _ *source, _ starlark.StringDict, reading *runtime.Reading) {
		hosts = reading.Hosts()
	})
	return hosts, err
}
