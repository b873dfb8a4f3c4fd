package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// lookEvery is how often the memory of a tool is looked at, in a round of its own that
// is not timed: looking takes time.
const lookEvery = 20 * time.Millisecond

// peakOf is the most memory that a process and all that it started had together, each
// page counted once (the sum of their Pss), until done is closed.
func peakOf(pid int, done <-chan struct{}) int64 {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var peak int64
	for {
		peak = max(peak, pssOf(strconv.Itoa(pid)))
		select {
		case <-done:
			return peak
		case <-tick.C:
		}
	}
}

// pssOf is the memory of a process and its descendants; what has ended has none.
func pssOf(pid string) int64 {
	sum := int64(0)
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%s/smaps_rollup", pid))
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			sum += kib << 10
		}
	}
	for _, child := range children(pid) {
		sum += pssOf(child)
	}
	return sum
}
