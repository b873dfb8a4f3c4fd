package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// A jsonPrune is what infra log --prune --json prints.
type jsonPrune struct {
	DryRun bool         `json:"dry_run"`
	Runs   []jsonOldRun `json:"runs"`
	Bytes  int64        `json:"bytes"` // that the disk got back; of a dry run, those of outputs
}

type jsonOldRun struct {
	ID      string         `json:"id"`
	Plan    string         `json:"plan"`
	Started time.Time      `json:"started"`
	Ended   time.Time      `json:"ended"`
	Status  runtime.Status `json:"status"`
	Bytes   int64          `json:"bytes"` // of its outputs
}

// logPrunable says what pruning would remove.
func (a *app) logPrunable(ledger *journal.Ledger, f logFlags) error {
	runs, err := ledger.Prunable(time.Now().Add(-f.age))
	if err != nil {
		return err
	}
	done := journal.Pruned{Runs: runs}
	for _, r := range runs {
		done.Bytes += r.Bytes
	}
	return a.showPruned(done, f)
}

// logPrune removes old runs.
func (a *app) logPrune(root string, f logFlags) error {
	j, err := journal.Open(root)
	if err != nil {
		return err
	}
	done, err := j.Prune(time.Now().Add(-f.age), time.Now())
	return errors.Join(err, j.Close(), a.showPruned(done, f))
}

func (a *app) showPruned(done journal.Pruned, f logFlags) error {
	if done.Left != nil {
		printFailure(a.words(), "the runs are removed, but the journal's file did not become smaller", done.Left, nil, wantsColor(a.stderr, a.getenv))
	}
	if f.json {
		return printJSON(a.stdout, jsonPruned(done, f.dryRun))
	}
	_, err := io.WriteString(a.stdout, prunedText(done, f, time.Now(), palette(wantsColor(a.stdout, a.getenv))))
	return err
}

func prunedText(done journal.Pruned, f logFlags, now time.Time, p palette) string {
	if len(done.Runs) == 0 && done.Bytes == 0 {
		return "nothing to remove: no run that nothing needs ended longer ago than " + f.prune + "\n"
	}
	rows := [][]string{{p.dim("RUN"), p.dim("ENDED"), p.dim("PLAN"), p.dim("STATUS"), p.dim("OUTPUTS")}}
	for _, r := range done.Runs {
		rows = append(rows, []string{r.ID, r.Ended.In(now.Location()).Format("2006-01-02 15:04"), printable(r.Plan),
			p.status(r.Status, string(r.Status)), size(r.Bytes)})
	}
	text := ""
	for _, line := range table(rows) {
		text += line + "\n"
	}
	if f.dryRun {
		return text + fmt.Sprintf("would remove %s with %s of outputs; nothing was removed\n", count(len(done.Runs), "run"), size(done.Bytes))
	}
	return text + fmt.Sprintf("removed %s; %s given back\n", count(len(done.Runs), "run"), size(done.Bytes))
}

func jsonPruned(done journal.Pruned, dry bool) jsonLog {
	p := &jsonPrune{DryRun: dry, Runs: []jsonOldRun{}, Bytes: done.Bytes}
	for _, r := range done.Runs {
		p.Runs = append(p.Runs, jsonOldRun{r.ID, r.Plan, r.Started, r.Ended, r.Status, r.Bytes})
	}
	return jsonLog{Schema: jsonSchema, Prune: p}
}

// size is a number of bytes as a person reads it.
func size(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	n, i := float64(bytes), 0
	for n >= 1024 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}
