package main

import (
	"testing"

	"infra/runtime"
	"infra/runtime/journal"
)

func TestLogOfPruning(t *testing.T) {
	done := journal.Pruned{Bytes: 3 << 20, Runs: []journal.OldRun{
		{ID: "20260101T0000-b", Plan: "o\x1b[31m", Ended: logAt(0), Status: runtime.Failed, Bytes: 2560},
	}}
	dry := logFlags{prune: "90d", dryRun: true}
	golden(t, "log-prune.txt", prunedText(done, logFlags{prune: "90d"}, logNow, false)+prunedText(done, dry, logNow, true)+prunedText(journal.Pruned{}, dry, logNow, false))
	for bytes, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 40: "5.0 TiB", 5 << 50: "5120.0 TiB"} {
		if got := size(bytes); got != want {
			t.Errorf("%d: got %s, want %s", bytes, got, want)
		}
	}
}
