package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"runtime/pprof"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// A profile is where the time and the memory of a run went, in a folder:
//
//	cpu.pprof, heap.pprof   of infra, for go tool pprof
//	starlark.pprof          of the plan's code, for the same
//	trace.json              of steps and operations, for chrome://tracing or ui.perfetto.dev
type profile struct {
	dir           string
	cpu, starlark *os.File
	trace         *trace
}

// startProfile begins it. dir is made where it is not there.
func startProfile(dir string) (*profile, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("--profile: %w", err)
	}
	p := &profile{dir: dir}
	var errs [3]error
	p.cpu, errs[0] = os.Create(filepath.Join(dir, "cpu.pprof"))
	p.starlark, errs[1] = os.Create(filepath.Join(dir, "starlark.pprof"))
	p.trace, errs[2] = newTrace(filepath.Join(dir, "trace.json"))
	err := errors.Join(errs[:]...)
	if err == nil {
		err = errors.Join(pprof.StartCPUProfile(p.cpu), starlark.StartProfile(p.starlark))
	}
	if err != nil {
		return nil, fmt.Errorf("--profile: %w", err)
	}
	return p, nil
}

// Read implements reader.
func (p *profile) Read(e runtime.Event) {
	if p != nil {
		p.trace.Read(e)
	}
}

// stop writes what is left to write.
func (p *profile) stop() error {
	if p == nil {
		return nil
	}
	pprof.StopCPUProfile()
	err := errors.Join(starlark.StopProfile(), p.cpu.Close(), p.starlark.Close(), p.trace.close(), p.heap())
	if err != nil {
		return fmt.Errorf("--profile: %w", err)
	}
	return nil
}

// heap writes what is in memory at the end, and what was ever asked for.
func (p *profile) heap() error {
	f, err := os.Create(filepath.Join(p.dir, "heap.pprof"))
	if err != nil {
		return err
	}
	goruntime.GC() // what is not needed any more does not count
	return errors.Join(pprof.WriteHeapProfile(f), f.Close())
}
