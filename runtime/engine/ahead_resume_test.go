package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"infra/runtime"
)

// lostAfter is a process that loses its host with a, b and c under way, the first n of
// which the host has carried out.
func lostAfter(n int) map[string]end {
	ends := map[string]end{}
	for i, name := range []string{"a", "b", "c"} {
		ends[name] = end{lost: "did not", until: "c"}
		if i < n {
			ends[name] = end{lost: "did it", until: "c"}
		}
	}
	return ends
}

// person answers by what became of a command in truth.
func (l *lane) person(asked *[]string) func(context.Context, string) (bool, error) {
	return func(_ context.Context, text string) (bool, error) {
		what, question, _ := strings.Cut(text, "\n")
		name := what[strings.LastIndex(what, ": ")+2:]
		l.mu.Lock()
		defer l.mu.Unlock()
		if question == "Is it done?" {
			*asked = append(*asked, name)
			return slices.Contains(l.done, name), nil
		}
		return true, nil
	}
}

// A sequel is a process that goes on, and what it comes to.
type sequel struct {
	status runtime.Status
	ops    string         // of the journal; "" is any
	choice InFlight       // "ask": a person is there to be asked
	asked  string         // what they were asked about
	ends   map[string]end // nil: all goes well
}

// TestSeveralInFlight goes on with a run that had asked for a, b and c when it ended.
func TestSeveralInFlight(t *testing.T) {
	const all, ask, done, again = "1 in flight, 2 in flight, 3 in flight", "ask", InFlightDone, InFlightAgain
	broken := map[string]end{"a": {err: errBroken}}
	for _, tt := range []struct {
		name, how string // how is "mute", and "repeat" where a may be repeated
		first     map[string]end
		ops       string
		then      []sequel
		done      string // by all processes
	}{
		{"the host did all", "", lostAfter(3), all, []sequel{{status: runtime.OK, ops: "1 ok, 2 ok, 3 ok"}}, "a b c"},
		{"the host did the first", "", lostAfter(1), all, []sequel{{status: runtime.OK, ops: "1 ok, 2 ok, 3 skipped, 4 ok"}}, "a b c"},
		{"the host did nothing", "", lostAfter(0), all, []sequel{{status: runtime.OK, ops: "1 ok, 2 skipped, 3 skipped, 4 ok, 5 ok"}}, "a b c"},
		{"the host did the first in vain", "", map[string]end{"a": {err: errBroken, lost: "did it", until: "c"}, "b": {lost: "did not"}, "c": {lost: "did not"}}, all,
			[]sequel{{status: runtime.Failed, ops: "1 failed, 2 skipped, 3 skipped"}, {status: runtime.OK, ops: "1 failed, 2 skipped, 3 skipped, 4 ok, 5 ok, 6 ok"}}, "a! a b c"},
		{"what is begun anew fails", "", lostAfter(0), all,
			[]sequel{{status: runtime.Failed, ops: "1 failed, 2 skipped, 3 skipped", ends: broken}, {status: runtime.OK, ops: "1 failed, 2 skipped, 3 skipped, 4 ok, 5 ok, 6 ok"}}, "a! a b c"},
		{"nobody is there", "mute", lostAfter(2), all, []sequel{{status: runtime.Held, ops: all}}, "a b"},
		{"each is said to be done", "mute", lostAfter(3), all, []sequel{{status: runtime.Held, ops: "1 ok, 2 in flight, 3 in flight", choice: done},
			{status: runtime.Held, ops: "1 ok, 2 ok, 3 in flight", choice: done}, {status: runtime.OK, ops: "1 ok, 2 ok, 3 ok", choice: done}}, "a b c"},
		{"the first is to be done again", "mute", lostAfter(0), all,
			[]sequel{{status: runtime.OK, ops: "1 interrupted, 2 skipped, 3 skipped, 4 ok, 5 ok, 6 ok", choice: again}}, "a b c"},
		{"the next is to be done again", "mute", lostAfter(1), all, []sequel{{status: runtime.Held, ops: "1 ok, 2 in flight, 3 in flight", choice: done},
			{status: runtime.OK, ops: "1 ok, 2 interrupted, 3 skipped, 4 ok, 5 ok", choice: again}}, "a b c"},
		{"a person knows of each", "mute", lostAfter(2), all,
			[]sequel{{status: runtime.OK, ops: "1 ok, 2 ok, 3 interrupted, 4 ok", choice: ask, asked: "a b c"}}, "a b c"},
		{"the first may be repeated", "mute repeat", lostAfter(2), all, []sequel{{status: runtime.OK, choice: ask, asked: "b c"}}, "a b a c"},
		{"the first is repeated in vain", "mute repeat", lostAfter(2), all,
			[]sequel{{status: runtime.Failed, choice: ask, ends: broken}, {status: runtime.OK, choice: ask, asked: "b c"}}, "a b a! a c"},
		{"the first is repeated, and lost again", "mute repeat", lostAfter(2), all,
			[]sequel{{status: runtime.Failed, choice: ask, ends: map[string]end{"a": {lost: "did it"}}}, {status: runtime.OK, choice: ask, asked: "b c"}}, "a b a a c"},
		{"the first failed, and then the host was lost", "", map[string]end{"a": {err: errBroken, until: "c"}, "b": {lost: "did not"}, "c": {lost: "did not"}},
			"1 failed, 2 skipped, 3 skipped", []sequel{{status: runtime.OK, ops: "1 failed, 2 skipped, 3 skipped, 4 ok, 5 ok, 6 ok"}}, "a! a b c"},
		{"after the host was lost, the next could not even be tried", "", map[string]end{"a": {lost: "did it", until: "b"}, "b": {waited: true, hasty: true, err: errors.New("no route")}},
			"1 in flight, 2 skipped", []sequel{{status: runtime.OK, ops: "1 ok, 2 skipped, 3 ok, 4 ok"}}, "a b c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLane(t)
			l.mute, l.repeat = strings.Contains(tt.how, "mute"), strings.Contains(tt.how, "repeat")
			if _, run := l.run(threeInARow, tt.first, Options{}); opsOf(run) != tt.ops {
				t.Errorf("journaled %s, want %s", opsOf(run), tt.ops)
			}
			for i, s := range tt.then {
				l.goOn(i, s)
			}
			if got := strings.Join(l.done, " "); got != tt.done {
				t.Errorf("carried out were %s, want %s", got, tt.done)
			}
		})
	}
}

func (l *lane) goOn(i int, s sequel) {
	l.Helper()
	var asked []string
	opts := Options{InFlight: s.choice}
	if s.choice == "ask" {
		opts = Options{Decide: l.person(&asked)}
	}
	out, run := l.run(threeInARow, s.ends, opts)
	if out.Status != s.status || s.ops != "" && opsOf(run) != s.ops || strings.Join(asked, " ") != s.asked {
		l.Errorf("%d: ended as %s with %s, asked was %q, want %s with %s, %q: %s", i, out.Status, opsOf(run), asked, s.status, s.ops, s.asked, l.why().Msg)
	}
}

// TestKilledWithSeveralInFlight kills a run at every write to its journal, with the host
// going on with any number of what it was asked, and some once more while they are
// resumed. In the end each command was carried out once, and in order.
func TestKilledWithSeveralInFlight(t *testing.T) {
	for how, until := range map[string]string{"": "c", "mute": "b", "mute repeat": "c", "fails": "c", "mute fails": "b"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			l, first := newLane(t), end{until: until}
			l.mute, l.repeat = strings.Contains(how, "mute"), strings.Contains(how, "repeat")
			if strings.Contains(how, "fails") {
				first.err = errBroken
			}
			l.kills = []*lane{}
			l.run(threeInARow, map[string]end{"a": first}, Options{})
			for i, k := range l.kills {
				for more := range len(k.begun) + 1 {
					k.twin().revive(more, fmt.Sprintf("killed at %d, %d more done", i, more), (i+more)%3)
				}
			}
		})
	}
}

// killed is the lane as a kill leaves it now.
func (l *lane) killed() *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.twin()
}

func (l *lane) twin() *lane {
	l.Helper()
	k := &lane{T: l.T, mute: l.mute, repeat: l.repeat, done: slices.Clone(l.done), ends: l.ends, begun: slices.Clone(l.begun)}
	root, err := os.MkdirTemp(l.TempDir(), "")
	if err == nil {
		k.root = filepath.Join(root, "p")
		err = os.CopyFS(k.root, os.DirFS(l.root))
	}
	if err != nil {
		l.Error(err)
	}
	return k
}

// revive goes on with a run that was killed, after the host has gone on with more of what
// it was asked. again is not 0 where the process is killed too, and revived.
func (l *lane) revive(more int, when string, again int) {
	l.Helper()
	for _, name := range slices.Clone(l.begun[:more]) {
		if len(l.done) == 0 || !strings.HasSuffix(l.done[len(l.done)-1], "!") {
			l.act(name)
		}
	}
	var asked []string
	for n := range 3 {
		if n == 0 && again > 0 {
			l.kills = []*lane{}
		}
		out, run := l.run(threeInARow, nil, Options{Decide: l.person(&asked)})
		if kills := l.kills; len(kills) > 0 {
			k := kills[again%len(kills)]
			l.kills = nil
			k.revive(again%(len(k.begun)+1), when+fmt.Sprintf(", again at %d", again%len(kills)), 0)
		}
		if out.Status == runtime.OK {
			break
		}
		if n == 2 {
			l.Errorf("%s: it cannot go on: %s: %s", when, opsOf(run), l.why().Msg)
		}
	}
	well := slices.DeleteFunc(slices.Clone(l.done), func(name string) bool { return strings.HasSuffix(name, "!") })
	if first := slices.Index(well, "a"); l.repeat && first == 0 {
		well = append(well[:1], slices.DeleteFunc(well[1:], func(name string) bool { return name == "a" })...)
	}
	if fmt.Sprint(well) != "[a b c]" || len(l.done)-len(well) > 1 && !l.repeat {
		l.Errorf("%s: carried out were %v", when, l.done)
	}
}
