package journal

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/syntax"
)

// A scanner is a row that can be read, *sql.Rows.
type scanner interface{ Scan(into ...any) error }

// A querier is a database or a transaction on it.
type querier interface {
	Query(text string, args ...any) (*sql.Rows, error)
}

// query reads all rows that text selects.
func query[T any](db querier, scan func(scanner) (T, error), text string, args ...any) ([]T, error) {
	rows, err := db.Query(text, args...)
	if err != nil {
		return nil, err
	}
	var out []T
	for rows.Next() {
		var x T
		if x, err = scan(rows); err != nil {
			break
		}
		out = append(out, x)
	}
	return out, errors.Join(err, rows.Err(), rows.Close())
}

// A place is the step or check that something belongs to.
type place struct {
	step, host string
	check      bool
}

type placed[T any] struct {
	at place
	it T
}

func scanRun(row scanner) (r Run, err error) {
	var started int64
	var ended, took, resumed sql.NullInt64
	var options, sources sql.NullString
	err = row.Scan(&r.ID, &r.Plan, &r.File, &r.Title, &options, &sources, &r.User, &r.Host, &r.Version,
		&started, &ended, &took, &r.Status, &r.Err, &r.Hint, &r.Asked, &r.Changed, &r.LastOp, &r.Seq, &resumed, &r.InFlight, &r.FailedChecks)
	if err == nil && sources.Valid {
		err = json.Unmarshal([]byte(sources.String), &r.Sources)
	}
	r.Options = rawOf(options)
	r.Started = timeOf(sql.NullInt64{Int64: started, Valid: true})
	r.Ended, r.Resumed = timeOf(ended), timeOf(resumed)
	r.Took = time.Duration(took.Int64)
	r.Status = cmp.Or(r.Status, Unfinished)
	return r, err
}

func scanResume(row scanner) (r Resume, err error) {
	var at, ended, took sql.NullInt64
	err = row.Scan(&at, &r.User, &r.Host, &r.Version, &ended, &took, &r.Before.Status, &r.Before.Err, &r.Before.Hint)
	r.Time = timeOf(at)
	r.Before.Ended = timeOf(ended)
	r.Before.Took = time.Duration(took.Int64)
	r.Before.Status = cmp.Or(r.Before.Status, Unfinished)
	return r, err
}

func scanStep(row scanner) (s Step, err error) {
	var started, took sql.NullInt64
	var result sql.NullString
	err = row.Scan(&s.Name, &s.Host, &s.Check, &s.Part, &started, &took, &s.Status, &s.Err, &s.Hint, &s.Text, &result)
	s.Started = timeOf(started)
	s.Took = time.Duration(took.Int64)
	s.Status = cmp.Or(s.Status, Unfinished)
	s.Attempts = 1 // and one for each time it was retried or begun again, which others know
	s.Result = rawOf(result)
	return s, err
}

func scanOp(row scanner) (p placed[Op], err error) {
	o := &p.it
	var started, took sql.NullInt64
	var args, result sql.NullString
	var pos string
	err = row.Scan(&p.at.step, &p.at.host, &p.at.check, &o.ID, &o.Attempt, &o.Name, &o.Host, &o.Effect, &args,
		&o.Show, &pos, &started, &took, &o.Status, &o.Err, &o.Hint, &o.Changed, &o.Verdict, &o.Detail, &o.Output, &result)
	o.Pos = posOf(pos)
	o.Args, o.Result = rawOf(args), rawOf(result)
	o.Started = timeOf(started)
	o.Took = time.Duration(took.Int64)
	o.Status = cmp.Or(o.Status, InFlight)
	return p, err
}

func scanLog(row scanner) (p placed[Log], err error) {
	var at sql.NullInt64
	var pos string
	err = row.Scan(&p.at.step, &p.at.host, &p.at.check, &p.it.Kind, &at, &p.it.Text, &pos, &p.it.After)
	p.it.Time = timeOf(at)
	p.it.Pos = posOf(pos)
	return p, err
}

func timeOf(ns sql.NullInt64) time.Time {
	if !ns.Valid {
		return time.Time{}
	}
	return time.Unix(0, ns.Int64).UTC()
}

func rawOf(text sql.NullString) json.RawMessage {
	if !text.Valid {
		return nil
	}
	return json.RawMessage(text.String)
}

// posOf reads what posText wrote: file:line:col, or less of it.
func posOf(text string) syntax.Position {
	if text == "" {
		return syntax.Position{}
	}
	file, col := cutNumber(text)
	file, line := cutNumber(file)
	if line == 0 { // there was one number, which is the line's
		line, col = col, 0
	}
	return syntax.MakePosition(&file, line, col)
}

// cutNumber takes ":number" off the end of text.
func cutNumber(text string) (string, int32) {
	i := strings.LastIndexByte(text, ':')
	n, err := strconv.ParseInt(text[i+1:], 10, 32)
	if i < 0 || err != nil {
		return text, 0
	}
	return text[:i], int32(n)
}
