package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"infra/runtime/clock"
	"infra/runtime/journal"
)

// statusLimit is how long infra status may take with observations so many, of phases
// so many, each with three checks.
const (
	statusLimit  = 100 * time.Millisecond
	observations = 100_000
	phases       = 7
)

// observed writes a crowd of runs or observations, by one statement: recording them one
// by one would take minutes.
const (
	observedRuns = `
		WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1)
		INSERT INTO runs (id, plan, file, title, options, user, host, version, started, ended, took, status)
		SELECT ?2 || i, 'p' || (i % ?3), 'plans/p.star', '', json_object('kind', ?4, 'clock', json_object('boot', ?5, 'up', ?6 + i * ?7)),
			'', '', '', ?8 + i * ?7, ?8 + i * ?7 + 1, 1, 'ok' FROM n`
	observedChecks = `
		INSERT INTO steps (run, name, host, is_check, part, started, took, status)
		SELECT runs.id, 'check' || value, '', 1, 0, started, 1, 'ok' FROM runs, json_each('[0, 1, 2]')`
)

// benchStatus measures infra status in a project that was observed for two weeks, far
// more often than anybody does.
func benchStatus(ctx context.Context, out io.Writer, dir string) error {
	root := filepath.Join(dir, "observed")
	if err := writePhases(root); err != nil {
		return err
	}
	if err := observe(root); err != nil {
		return fmt.Errorf("make up observations: %w", err)
	}
	var figures []figure
	for range runs {
		f, err := measure(ctx, root, []string{filepath.Join(dir, "infra"), "status"})
		if err != nil {
			return err
		}
		figures = append(figures, f)
	}
	m := median(figures)
	fmt.Fprint(out, "\n| infra status | wall | cpu | memory |\n|---|---|---|---|\n")
	fmt.Fprintf(out, "| %d phases, %d observations in two weeks, %d outcomes of checks | %s |\n", phases, observations, 3*observations, m)
	if m.wall > statusLimit {
		return fmt.Errorf("infra status took %s, and should stay under %s", m.wall.Round(time.Millisecond), statusLimit)
	}
	return nil
}

func writePhases(root string) error {
	files := map[string]string{"infra.toml": ""}
	for i := range phases {
		after := ""
		if i > 0 {
			after = fmt.Sprintf(`stable("p%d", "7d")`, i-1)
		}
		files[fmt.Sprintf("plans/p%d.star", i)] = fmt.Sprintf(`
def do(): log("done")
p%d = plan(phase = %d, after = [%s], hosts = [host("h%d", system = "x86_64-linux")], steps = [step(do)],
    checks = [check(lambda: True, name = "check%%d" %% i) for i in range(3)])
`, i, i, after, i)
	}
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(strings.TrimLeft(text, "\n")), 0o644)); err != nil {
			return err
		}
	}
	return nil
}

// observe makes up a journal: each phase was done two weeks ago, and observed since.
func observe(root string) error {
	j, err := journal.Open(root)
	if err != nil {
		return err
	}
	if err := j.Close(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", filepath.Join(root, ".infra", "journal.db"))
	if err != nil {
		return err
	}
	const span = 14 * 24 * time.Hour
	now := clock.Now()
	begin := now.Add(-span - time.Hour)
	for _, rows := range []struct {
		count int
		id    string
		kind  any
		from  clock.Instant
		step  time.Duration
	}{{phases, "done", nil, begin, time.Second}, {observations, "seen", string(journal.Observed), begin.Add(time.Hour), span / observations}} {
		if _, err := db.Exec(observedRuns, rows.count, rows.id, phases, rows.kind, now.Boot, int64(rows.from.Up), int64(rows.step), rows.from.Wall.UnixNano()); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	_, err = db.Exec(observedChecks)
	return errors.Join(err, db.Close())
}
