package gates

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/journal"
)

// raced says whether the tests have the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestGatesHoldInTrueTime makes up histories in which clocks are set, machines boot and
// two machines differ, and compares what gates say with the true time. Where no clock is
// ever wrong, gates also open as soon as they may.
func TestGatesHoldInTrueTime(t *testing.T) {
	const worlds = 4
	histories := uint64(300)
	if raced() { // nothing in it runs side by side, and it takes thirty times as long
		histories = 20
	}
	for n := range uint64(worlds) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w, opened := newWorld(t), 0
			for seed := n * histories; seed < (n+1)*histories && !t.Failed(); seed++ {
				w.begin(seed)
				for i := 0; i < 30 && !t.Failed(); i++ {
					w.step()
					if w.Intn(4) == 0 {
						w.look()
						w.closely()
					}
				}
				opened += w.opened
			}
			if !t.Failed() && opened < int(histories/10) {
				t.Errorf("gates were open only %d times in %d histories: they say little", opened, histories)
			}
		})
	}
}

// A world is a journal, and what truly happened.
type world struct {
	t *testing.T
	*rand.Rand
	db     *sql.DB
	ledger *journal.Ledger

	made    map[string]*sql.Stmt
	writing bool

	truth
	gate     *runtime.Gate
	now      time.Duration // in truth
	tame     bool          // one machine, whose clock is never wrong
	machines []*machine
	pending  []*pending
	failed   []*pending    // that can be gone on with
	recorded time.Duration // last, by a clock that was not behind
	opened   int
	earliest time.Duration // that was ever said since it was closed last
	runs     int
	seed     uint64
	log      []string
}

// A machine has a clock that is wrong by some minutes, or was set.
type machine struct {
	skew, set time.Duration
	boots     int
	booted    time.Duration
	used      bool // it recorded something since it booted
	behind    bool // its clock was, then
	name      string
}

type pending struct {
	*act
	id  string
	seq int64
	by  *machine
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld(t *testing.T) *world {
	root := t.TempDir()
	j, err := journal.Open(root)
	if err == nil {
		err = j.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, made: map[string]*sql.Stmt{}}
	if w.db, err = sql.Open("sqlite", filepath.Join(root, ".infra", "journal.db")+"?_pragma=synchronous(OFF)"); err == nil {
		w.db.SetMaxOpenConns(1)
		w.ledger, err = journal.Read(root)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close(); _ = w.ledger.Close() })
	return w
}

// Intn is a random number below n.
func (w *world) Intn(n int) int { return w.IntN(n) }

// upTo is a random time.
func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.Int64N(int64(d))) }

func (w *world) begin(seed uint64) {
	w.seed, w.Rand = seed, rand.New(rand.NewPCG(seed, 8))
	w.exec("DELETE FROM runs")
	for _, table := range []string{"entries", "ops", "steps", "resumes"} {
		w.exec("DELETE FROM " + table)
	}
	w.truth, w.now, w.pending, w.failed, w.opened, w.earliest, w.log = truth{}, 100*day, nil, nil, 0, 0, nil
	w.recorded, w.tame = 0, w.Intn(3) == 0
	w.machines = []*machine{{name: "a", booted: 99 * day}}
	if !w.tame {
		w.machines = append(w.machines, &machine{name: "b", booted: 98 * day, skew: w.upTo(4*time.Minute) - 2*time.Minute})
	}
	w.gate = &runtime.Gate{Kind: runtime.GateStable, Of: "p", For: []time.Duration{day, 3 * day, 7 * day}[w.Intn(3)], AtMost: max(0, w.Intn(5)-2),
		AtLeast: []runtime.Rate{{}, {Times: 1, Per: day}, {Times: 2, Per: day}}[w.Intn(3)]}
}

// step is that some time goes by, and something happens.
func (w *world) step() {
	w.now += []time.Duration{10 * time.Minute, 3 * time.Hour, 20 * time.Hour, 20 * time.Hour, 40 * time.Hour}[w.Intn(5)] + w.upTo(6*time.Hour)
	m := w.machines[w.Intn(len(w.machines))]
	switch n := w.Intn(40); {
	case n < 24:
		w.observe(m, w.Intn(9) > 0)
	case n < 27 || len(w.acts) == 0:
		w.start(m, &act{change: w.Intn(2) == 0, part: w.Intn(4) == 0})
	case n < 31 && len(w.pending) > 0:
		w.end(w.Intn(len(w.pending)))
	case n < 32:
		w.start(m, &act{back: true, change: w.Intn(4) > 0})
	case n < 33:
		w.start(m, &act{host: true, change: w.Intn(4) > 0})
	case n < 35 && len(w.failed) > 0:
		w.resume(m)
	case n < 37 && !w.tame:
		w.boot(m)
	case n < 39 && !w.tame && m.used:
		m.set = []time.Duration{0, w.upTo(20*day) - 10*day, w.upTo(2*time.Hour) - time.Hour}[w.Intn(3)]
		w.note("%s is set by %s", m.name, m.set)
	}
	if len(w.pending) > 0 && w.Intn(2) == 0 { // most end soon
		w.now += w.upTo(time.Hour)
		w.end(len(w.pending) - 1)
	}
}

// boot starts a machine anew. Its clock is right then, or behind by so much that it is
// noticed when the machine records the first after that.
func (w *world) boot(m *machine) {
	m.boots, m.booted, m.used, m.set = m.boots+1, w.now, false, 0
	if w.recorded > 0 && w.Intn(3) == 0 {
		m.set = -(w.now - w.recorded + 15*time.Minute + w.upTo(3*day))
	}
	w.now += time.Minute
	w.note("%s boots, %s", m.name, m.set)
	m.behind = m.set != 0
	if m.behind {
		w.observe(m, w.Intn(9) > 0)
	}
}

func (w *world) wall(m *machine) time.Time { return epoch.Add(w.now + m.skew + m.set) }

func (w *world) at(m *machine) clock.Instant {
	return clock.Instant{Wall: w.wall(m), Mark: clock.Mark{Boot: fmt.Sprint(m.name, m.boots), Up: w.now - m.booted}}
}

// add records the beginning of something.
func (w *world) add(m *machine, kind any, file, plan string, a *act) (string, int64) {
	w.runs++
	now, id := w.at(m), fmt.Sprint("r", w.runs)
	undoes, steps := any(nil), "[]"
	if a != nil && a.back {
		undoes = "r0"
	}
	if a != nil && a.part {
		steps = `["s"]`
	}
	w.exec(`INSERT INTO runs (id, plan, file, title, options, user, host, version, started) VALUES (?, ?, ?, '',
		json_object('kind', ?, 'undoes', ?, 'steps', json(?), 'clock', json_object('boot', ?, 'up', ?)), '', ?, '', ?)`,
		id, plan, file, kind, undoes, steps, now.Boot, int64(now.Up), m.name, now.Wall.UnixNano())
	var seq int64
	if err := w.db.QueryRow("SELECT max(seq) FROM runs").Scan(&seq); err != nil {
		w.t.Fatal(err)
	}
	w.entry(seq, runtime.RunStarted)
	m.used = true
	if !m.behind {
		w.recorded = w.now
	}
	return id, seq
}

func (w *world) entry(seq int64, kind runtime.EventKind) {
	w.exec("INSERT INTO entries (run, kind, step, host, is_check, item, digest, chain) VALUES (?, ?, '', '', 0, 0, x'', x'')", seq, kind)
}

func (w *world) observe(m *machine, ok bool) {
	began := w.now
	id, seq := w.add(m, "verify", "p.star", "p", nil)
	w.now += w.upTo(2 * time.Minute)
	w.seen = append(w.seen, look{began, w.now, ok})
	w.finish(id, seq, m, w.now-began, statusOf(ok, false))
	w.note("%s observes %t, which began at %s", m.name, ok, began)
}

func statusOf(ok, stopped bool) runtime.Status {
	switch {
	case ok:
		return runtime.OK
	case stopped:
		return runtime.Interrupted
	}
	return runtime.Failed
}

func (w *world) finish(id string, seq int64, m *machine, took time.Duration, status runtime.Status) {
	w.exec("UPDATE runs SET ended = ?, took = ?, status = ? WHERE id = ?", w.wall(m).UnixNano(), int64(took), status, id)
	w.entry(seq, runtime.RunEnded)
}

// start begins an act.
func (w *world) start(m *machine, a *act) {
	a.began = w.now
	file, plan := "p.star", "p"
	if a.host {
		file, plan = "infra rollback h", "rollback h"
	}
	id, seq := w.add(m, nil, file, plan, a)
	if a.change {
		w.exec(`INSERT INTO ops (run, id, step, step_host, is_check, attempt, name, host, effect, args, show, pos, started, planned, changed, status)
			VALUES (?, 1, 's', 'h', 0, 1, 'x', 'h', 'change', '', '', '', 1, '', 1, 'ok')`, id)
	}
	w.acts = append(w.acts, a)
	w.pending = append(w.pending, &pending{a, id, seq, m})
	w.note("%s begins %s %+v", m.name, id, *a)
}

// end ends one that goes on, on the machine that it is on.
func (w *world) end(i int) {
	p := w.pending[i]
	w.pending = append(w.pending[:i:i], w.pending[i+1:]...)
	boot := fmt.Sprint(p.by.name, p.by.boots)
	if p.by.booted > p.began { // that was cut off
		w.failed = append(w.failed, p)
		w.note("%s was cut off before %s", p.id, boot)
		return
	}
	p.ok, p.failing = w.Intn(4) > 0, w.Intn(2) == 0
	p.ended = w.now
	w.close(p, p.ended-p.began)
}

func (w *world) close(p *pending, took time.Duration) {
	status := statusOf(p.ok, !p.failing)
	if status == runtime.Failed {
		w.exec("INSERT OR REPLACE INTO steps (run, name, host, is_check, part, status) VALUES (?, 'c', '', 1, 0, 'failed')", p.id)
	}
	w.finish(p.id, p.seq, p.by, took, status)
	if !p.ok {
		w.failed = append(w.failed, p)
	}
	w.note("%s ends: %+v", p.id, *p.act)
}

// resume goes on with a run, and ends it. The clock of that machine is right: nothing
// else tells when such a run ended.
func (w *world) resume(m *machine) {
	i := w.Intn(len(w.failed))
	p := w.failed[i]
	w.failed = append(w.failed[:i:i], w.failed[i+1:]...)
	m.set, w.tame = 0, false // when it ends, only a wall clock tells
	w.exec("DELETE FROM steps WHERE run = ?", p.id)
	w.exec("INSERT INTO resumes (run, part, time, user, host, version) SELECT ?, 1 + (SELECT count(*) FROM resumes WHERE run = ?1), ?, '', '', ''", p.id, w.wall(m).UnixNano())
	w.entry(p.seq, runtime.RunResumed)
	p.began, p.by = w.now, m
	w.now += w.upTo(time.Hour)
	p.ok, p.failing, p.ended = w.Intn(3) > 0, false, w.now
	w.close(p, 0)
}

// exec writes in a transaction that look ends.
func (w *world) exec(text string, args ...any) {
	if !w.writing {
		w.writing = true
		w.exec("BEGIN")
	}
	stmt, err := w.made[text], error(nil)
	if stmt == nil {
		stmt, err = w.db.Prepare(text)
		w.made[text] = stmt
	}
	if err == nil {
		_, err = stmt.Exec(args...)
	}
	if err != nil {
		w.t.Fatal(text, err)
	}
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%s: ", w.now)+fmt.Sprintf(format, args...))
}

// look asks one of the machines about the gate.
func (w *world) look() {
	if w.writing {
		w.exec("COMMIT")
		w.writing = false
	}
	m := w.machines[w.Intn(len(w.machines))]
	now := w.at(m)
	states, err := At(now, w.ledger).States(&runtime.Plan{Name: "q", After: []*runtime.Gate{w.gate, {Kind: runtime.GateDone, Of: "p"}}})
	if err != nil {
		w.t.Fatal(err)
	}
	state, may := states[0], w.stable(w.gate, w.now)
	_, done, _ := w.done(w.now)
	switch {
	case state.Open && !may:
		w.wrong("it is open early on %s: %s", m.name, state.Why)
	case states[1].Open != done:
		w.wrong("done is %t, %s", states[1].Open, states[1].Why)
	case w.tame && may && !state.Open:
		w.wrong("it is closed: %s", state.Why)
	case state.Open && w.now < w.earliest:
		w.wrong("it is open, and should not have been before %s", w.earliest)
	case state.Open:
		w.opened++
	case state.Why == "":
		w.wrong("it does not say why it is closed")
	case !state.From.IsZero():
		w.earliest = max(w.earliest, w.now+state.From.Sub(now.Wall))
	}
	if state.Open {
		w.earliest = 0
	}
}

// closely looks again when the gate can open, and some minutes about that.
func (w *world) closely() {
	at := w.earliest - 10*time.Minute
	if at < w.now || at > w.now+2*day {
		return
	}
	w.now = at
	for range 4 {
		w.now += w.upTo(5 * time.Minute)
		w.look()
	}
}

func (w *world) wrong(format string, args ...any) {
	w.t.Errorf("seed %d, gate %s at_most %d at_least %s, at %s: "+format, append([]any{w.seed, w.gate, w.gate.AtMost, w.gate.AtLeast, w.now}, args...)...)
	for _, line := range w.log {
		w.t.Log(line)
	}
}
