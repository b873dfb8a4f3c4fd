package nix

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// availableMemory is what programs may still take of this machine's memory, in bytes; 0 where
// that is not known. What bounds a container bounds its evaluations.
func availableMemory() int64 {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	available := availableIn(info)
	limit, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if err != nil {
		return available
	}
	if most, err := strconv.ParseInt(strings.TrimSpace(string(limit)), 10, 64); err == nil { // else "max"
		available = min(available, most)
	}
	return available
}

// availableIn reads what /proc/meminfo says, in bytes.
func availableIn(info []byte) int64 {
	for line := range bytes.Lines(info) {
		words := strings.Fields(string(line))
		if len(words) > 1 && words[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(words[1], 10, 52)
			if err != nil {
				return 0
			}
			return max(0, kib) << 10
		}
	}
	return 0
}
