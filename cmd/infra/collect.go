package main

import (
	"os"
	goruntime "runtime"
	"runtime/debug"
	"sync/atomic"
)

const (
	// firstHeap is how large the heap grows before it is collected for the first time. Go
	// begins at 4 MiB, and would collect ten times on the way here, which costs a run of
	// some ten hosts a tenth of its CPU and finds next to nothing: what a run makes at its
	// start it needs to its end.
	firstHeap = 32 << 20
	// goFirstHeap is Go's own, at 100 percent.
	goFirstHeap = 4 << 20
	// laterPercent is by how much the heap grows from one collection to the next then. At
	// Go's own 100, a run of 500 hosts has 14 MiB more, for 4 percent less CPU.
	laterPercent = 50
)

// later is by how much the heap grows from one collection to the next after the first, in
// percent.
var later atomic.Int64

// collectLate sets when memory is collected. Who sets GOGC knows better.
func collectLate() {
	if os.Getenv("GOGC") != "" {
		return
	}
	later.Store(laterPercent)
	debug.SetGCPercent(100 * firstHeap / goFirstHeap)
	unused := new([64]byte) // so the first collection finds it
	goruntime.AddCleanup(unused, func(later *atomic.Int64) { debug.SetGCPercent(int(later.Load())) }, &later)
}

// collectBy sets by how much the heap grows from one collection to the next from now on.
func collectBy(percent int) {
	later.Store(int64(percent))
	debug.SetGCPercent(percent)
}
