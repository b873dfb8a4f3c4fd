package main

import (
	"fmt"
	"os"
	"time"

	"infra/runtime/clock"
)

// stepped is infra whose clock stands at INFRA_STEPPED, a moment as RFC 3339 has it, for
// tests in which weeks go by. The machine has been up since the beginning of 2026.
func stepped() {
	at, err := time.Parse(time.RFC3339, os.Getenv("INFRA_STEPPED"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "infra-stepped: INFRA_STEPPED:", err)
		os.Exit(exitUsage)
	}
	now := func() clock.Instant {
		return clock.Instant{Wall: at, Mark: clock.Mark{Boot: "stepped", Up: at.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}}
	}
	os.Exit(runAt(now, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
