package nix

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

// activities reads what one nix says of its work in the form of [internalJSON]:
// people get lines as nix itself prints them, and are told of what takes long.
type activities struct {
	tell func(runtime.Part)
	now  func() time.Time
	// sizes are those of the paths that a nix copies which does not say them: of what
	// it has copied, and of what is still to come. nil: nobody knows.
	sizes func(copied []string) map[string]int64

	// Of a nix that works for several operations at once, these say whose a thing is.
	// nil: it is all of one.
	logOf  func(subject string) io.Writer
	tellOf func(subject string, p runtime.Part)
	built  func() // is called where more builds have ended well: of which, not every nix says at once

	mu     sync.Mutex // nix writes while the ticker reads
	lines  lineSplitter
	out    io.Writer
	live   map[uint64]*activity
	begun  int              // counts activities
	totals map[int]total    // by kind, of what has ended; with what is expected of all
	copied int64            // paths
	toCopy int64            // paths, as nix said in the beginning
	known  map[string]int64 // sizes; nil until they were asked for
	early  []string         // paths copied before that
	told   string           // of all together
	worked bool             // something was built or copied

	said    []string // the last lines that matter to an error
	failing int64    // builds that have failed and whose activity has not ended
	working int64    // builds that have ended well and whose activity has not ended
	failed  []failedBuild
	reasons map[string]string // of failures, by derivation; by "" of one that nix did not name
	others  []string          // errors that name no build which failed
}

// An activity is something that nix works on.
type activity struct {
	kind    int
	nth     int    // in the order in which they began
	subject string // the store path, or the URL
	text    string // as nix says it
	machine string // that builds it; "" is this one
	began   time.Time
	phase   string
	total
	expects map[int]int64 // by kind of activity
	tail    []string      // the last lines of a build's log
	broken  bool          // nix has said that the build failed
	late    int64         // of builds: they have ended, and nix expects them still

	label  string // by which people were told of it; "" before that
	detail string // that they were told
}

// A total counts builds, paths or bytes.
type total struct{ done, expected, failed int64 }

// liveKept bounds how many activities are followed at once, and how many
// failures are kept, whatever nix says.
const (
	liveKept   = 10_000
	failedKept = 100
	tailKept   = 20 // lines
	saidKept   = 1000
	saidWidest = 4000 // bytes of one line
)

// follow is script for a nix with [internalJSON]. Of its standard error the output
// has what matters to an error: not what nix began, and no build's log.
func (s store) follow(ctx context.Context, a *activities, what string, cmd remote.Command, script string, args ...string) (command.Output, error) {
	run := s.run
	s.run = func(ctx context.Context, cmd remote.Command) (remote.Exit, error) {
		a.out, cmd.Stderr = cmd.Stderr, a
		defer a.ticking()()
		return run(ctx, cmd)
	}
	out, err := s.script(ctx, what, cmd, script, args...)
	if len(a.said) == 0 {
		return out, err
	}
	out.Stderr = strings.Join(a.said, "\n") + "\n"
	if err != nil && out.Exit.Code != 0 && out.Exit.Code != notFound {
		err = out.Err(what + " " + s.where)
	}
	return out, err
}

// activitiesOf tells people of an operation's activities.
func activitiesOf(ctx context.Context) *activities {
	return newActivities(func(p runtime.Part) { runtime.Progress(ctx, p) })
}

func newActivities(tell func(runtime.Part)) *activities {
	a := &activities{tell: tell, now: time.Now, out: io.Discard, live: map[uint64]*activity{}, totals: map[int]total{}, reasons: map[string]string{}}
	a.lines.line = a.line
	return a
}

// acted says whether nix built or copied anything.
func (a *activities) acted() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.worked
}

// Write takes what nix writes to its standard error.
func (a *activities) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lines.Write(p)
}

func (a *activities) line(line []byte) {
	line = bytes.TrimRight(line, "\r")
	m, ok := parseMessage(line)
	if at := bytes.Index(line, messageMark); !ok && at > 0 {
		// A child that does not end its line is before it.
		if m, ok = parseMessage(line[at:]); ok {
			a.matter(a.print(string(line[:at])))
		}
	}
	if !ok {
		a.matter(a.print(string(line)))
		return
	}
	a.take(m)
}

// log is where what is said of a subject goes.
func (a *activities) log(subject string) io.Writer {
	if a.logOf == nil || subject == "" {
		return a.out
	}
	return a.logOf(subject)
}

// matter keeps what an error will quote.
func (a *activities) matter(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line[:min(len(line), saidWidest)], "\n")
		a.said = append(a.said, strings.ToValidUTF8(line, ""))
	}
	if over := len(a.said) - saidKept; over > saidKept {
		a.said = append(a.said[:0], a.said[over:]...)
	}
}

// print passes on what is for people, and returns it as they see it.
func (a *activities) print(text string) string {
	text = forPeople(text)
	writeLine(a.out, text)
	return text
}

// forPeople leaves out what is meant for a terminal.
func forPeople(text string) string {
	return strings.TrimRight(ansi.Strip(strings.ToValidUTF8(text, "\uFFFD")), " \t\r\n")
}

func (a *activities) take(m message) {
	switch m.Action {
	case "msg":
		text := a.print(m.Msg)
		if m.Level <= warnLevel {
			a.explain(text)
			a.matter(text)
		}
	case "start":
		a.start(m)
	case "stop":
		a.stop(m.ID)
	case "result":
		if act := a.live[m.ID]; act != nil {
			a.result(act, m)
		}
	}
}

// announced matches how a copy begins, in a nix that counts no paths.
var announced = regexp.MustCompile(`^copying (\d{1,9}) paths`)

func (a *activities) start(m message) {
	if m.Text != "" && m.Level <= infoLevel {
		writeLine(a.log(m.word(0)), forPeople(m.Text))
	}
	if len(a.live) >= liveKept {
		return
	}
	a.begun++
	act := &activity{kind: m.Type, nth: a.begun, text: ansi.Strip(m.Text), subject: m.word(0), began: a.now()}
	a.worked = a.worked || m.Type == buildActivity || m.Type == copyPathActivity
	switch m.Type {
	case buildActivity:
		act.machine = m.word(1)
	case copyPathActivity:
		act.expected = a.known[act.subject]
	case copyPathsActivity:
		if n := announced.FindStringSubmatch(m.Text); n != nil {
			paths, _ := strconv.ParseInt(n[1], 10, 64)
			a.toCopy += paths
		}
	}
	a.live[m.ID] = act
}

func (a *activities) stop(id uint64) {
	act := a.live[id]
	if act == nil {
		return
	}
	delete(a.live, id)
	for kind, n := range act.expects {
		a.expect(kind, -n)
	}
	did := act.does().did
	switch {
	case act.kind == buildActivity:
		did = a.endBuild(act)
	case act.kind == copyPathActivity:
		act.done = max(act.done, act.expected) // not every nix counts the bytes, or the last ones
		a.copied++
		if a.sizes != nil && a.known == nil && len(a.early) < liveKept {
			a.early = append(a.early, act.subject)
		}
	}
	t := a.totals[act.kind]
	t.done, t.failed = min(t.done+act.done, most), min(t.failed+act.failed, most)
	a.totals[act.kind] = t
	a.over(act, did)
}

func (a *activities) expect(kind int, by int64) {
	t := a.totals[kind]
	t.expected = max(0, min(t.expected+by, most))
	a.totals[kind] = t
}

func (a *activities) result(act *activity, m message) {
	switch m.Type {
	case logLineResult, postLogLineResult:
		text := forPeople(m.word(0))
		writeLine(a.log(act.subject), strings.TrimRight(act.name()+"> "+text, " "))
		if text != "" && act.kind == buildActivity {
			act.tail = append(act.tail, text)
			act.tail = act.tail[max(0, len(act.tail)-tailKept):]
		}
	case phaseResult, fetchStatusResult:
		act.phase = ansi.Strip(m.word(0))
	case progressResult:
		now := total{m.number(0), m.number(1), m.number(3)}
		if act.kind == buildsActivity {
			now = a.countBuilds(act, now)
		}
		act.total = now
	case expectedResult:
		kind, n := int(m.number(0)), m.number(1)
		if act.expects == nil {
			act.expects = map[int]int64{}
		}
		if len(act.expects) < tailKept || act.expects[kind] > 0 {
			a.expect(kind, n-act.expects[kind])
			act.expects[kind] = n
		}
	}
}

// countBuilds notes what nix counts of builds, and returns what there is of them. Since 2.3x
// a build that ends is expected for a moment more.
func (a *activities) countBuilds(act *activity, now total) total {
	before := act.total
	before.expected += act.late
	worked, failed := max(0, now.done-before.done), max(0, now.failed-before.failed)
	a.failing = failed // the next build that ends is the one, unless nix names it
	a.working = min(a.working+worked, most)
	if worked > 0 && a.built != nil {
		a.built()
	}
	if before.expected > 0 {
		more := now.expected + now.failed - before.expected - before.failed
		act.late = max(0, act.late+min(more, worked+failed))
	}
	now.expected = max(0, now.expected-act.late)
	return now
}

// name is what people call the subject.
func (act *activity) name() string {
	if act.kind == fileTransferActivity {
		return act.subject
	}
	if act.subject == "" {
		return act.text
	}
	return drvName(act.subject)
}
