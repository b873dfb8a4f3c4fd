package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"infra/runtime"
	"infra/runtime/gates"
	"infra/runtime/phases"
)

// A statusView lays out infra status.
type statusView struct {
	palette
	*standing
	width int
	bars  bool // on a terminal
	out   strings.Builder
}

// text is what infra status prints for people, in so many columns.
func (s *standing) text(width int, p palette, bars bool) string {
	v := &statusView{palette: p, standing: s, width: max(width, 40), bars: bars}
	if s.one != nil {
		v.depth()
	} else {
		v.overview()
	}
	return v.out.String()
}

func (v *statusView) line(s string) {
	v.out.WriteString(strings.TrimRight(strings.ReplaceAll(s, together, " "), " ") + "\n")
}

// cut prints a line as far as there is room.
func (v *statusView) cut(s string) { v.line(ansi.Truncate(strings.TrimRight(s, " "), v.width, "…")) }

// under prints words below a line, as many lines as they take.
func (v *statusView) under(indent int, text string) {
	margin := strings.Repeat(" ", indent)
	line := ""
	for word := range strings.FieldsSeq(strings.ReplaceAll(text, together, "\x00")) {
		word = strings.ReplaceAll(word, "\x00", " ")
		if line != "" && indent+ansi.StringWidth(line)+1+ansi.StringWidth(word) > v.width {
			v.line(margin + line)
			line = ""
		}
		line = joinParts([]string{line, word}, " ")
	}
	v.line(margin + line)
}

// together is a space at which no line ends.
const together = "\u00a0"

// whole keeps words on one line.
func whole(text string) string { return strings.ReplaceAll(text, " ", together) }

// sides prints two texts at the two ends of a line.
func (v *statusView) sides(left, right string) {
	room := v.width - ansi.StringWidth(left) - ansi.StringWidth(right)
	if room < 2 {
		v.under(0, left)
		v.line(right)
		return
	}
	v.line(left + strings.Repeat(" ", room) + right)
}

func (v *statusView) overview() {
	v.sides(v.heading(), v.dim(gateTime(v.view.Now.Wall)))
	if len(v.view.Phases) > 0 {
		v.line("")
		v.phases()
	}
	v.warnings()
	for i, command := range v.next() {
		if i == 0 {
			v.line("")
			v.under(0, v.bold("next: ")+command)
			continue
		}
		v.under(6, command)
	}
}

// heading is what the whole is, and how far it is.
func (v *statusView) heading() string {
	title := ""
	if w := v.all.whole; w != nil {
		title = oneLine(joinParts([]string{w.Plan.Title}, "")) + ": "
		if w.Plan.Title == "" {
			title = w.Plan.Name + ": "
		}
	}
	over := 0
	for _, p := range v.view.Phases {
		if p.Over() {
			over++
		}
	}
	if len(v.view.Phases) == 0 {
		return "the project has no plans"
	}
	return v.bold(title) + fmt.Sprintf("%d of %s done", over, count(len(v.view.Phases), "phase"))
}

// Widths from which a column is shown.
const (
	roomForTitles = 105
	roomForBars   = 76
)

// phases prints the table.
func (v *statusView) phases() {
	list := v.view.Phases
	titles := v.width >= roomForTitles
	rows := make([][]string, len(list)+1)
	rows[0] = []string{"", v.dim("PHASE"), v.dim("TITLE"), v.dim("STATE"), v.dim("RUN"), v.dim("LOOKED AT"), v.dim("HOSTS")}
	for i, p := range list {
		title := v.dim(ansi.Truncate(oneLine(p.Plan.Title), 30, "…"))
		rows[i+1] = []string{number(p), v.bold(p.Plan.Name), title, v.state(p), v.lastRun(p), v.looked(p), ""}
	}
	if !titles {
		for i, row := range rows {
			rows[i] = slices.Delete(row, 2, 3)
		}
	}
	lines := table(rows)
	used := ansi.StringWidth(lines[0]) - len("HOSTS")
	v.line(lines[0])
	for i, p := range list {
		line, room := lines[i+1], v.width-used
		hosts := v.hosts(p.Hosts)
		fits := ansi.StringWidth(hosts) <= room
		cell := hosts
		if !fits {
			cell = v.dim(count(len(p.Hosts), "host"))
		}
		v.cut(line + strings.Repeat(" ", max(0, used-ansi.StringWidth(line))) + cell)
		if !fits {
			v.under(5, hosts)
		}
		v.holds(p)
	}
}

func number(p *phases.Phase) string {
	if p.Plan.Phase < 0 {
		return ""
	}
	return strconv.Itoa(p.Plan.Phase)
}

// look is a state's mark and colour.
func (p palette) look(s phases.State) (mark string, paint func(string) string) {
	switch s {
	case phases.Done, phases.Stable:
		return "✓", p.good
	case phases.Soaking:
		return "◐", p.active
	case phases.Running:
		return "▶", p.active
	case phases.Failed:
		return "✗", p.bad
	case phases.Degraded:
		return "!", p.bad
	case phases.Held, phases.Interrupted, phases.RolledBack:
		return "!", p.change
	case phases.Ready:
		return "○", p.change
	}
	return "·", p.dim
}

// state is a phase's state, with how long it has been stable.
func (v *statusView) state(p *phases.Phase) string {
	mark, paint := v.look(p.State)
	text := paint(mark + " " + string(p.State))
	for _, o := range p.Overrides {
		if o.InForce {
			text += v.bad(" OVERRIDDEN")
			break
		}
	}
	if p.Soak == nil || p.State == phases.Stable || p.State == phases.Running {
		return text
	}
	if v.bars && v.width >= roomForBars {
		text += " " + v.bar(p.Soak.Part())
	}
	return text + " " + p.Soak.String()
}

// bar draws a part of a whole, seven columns wide: a day of a week each.
func (v *statusView) bar(part float64) string {
	const width = 7
	full := int(part * width)
	return v.active(strings.Repeat("━", full)) + v.dim(strings.Repeat("╌", width-full))
}

// past is how long ago something was. What the clock takes for a moment from now was
// just now.
func (v *statusView) past(t time.Time) string {
	d := v.view.Now.Wall.Sub(t)
	if d < 0 && d > -time.Minute {
		d = 0
	}
	return age(d)
}

// ago is that in as few letters as there are: "3h", "12d".
func (v *statusView) ago(t time.Time) string {
	switch text := v.past(t); text {
	case "just now":
		return "now"
	case "in the future":
		return "future"
	default:
		return strings.TrimSuffix(text, " ago")
	}
}

// lastRun is when a phase was run last, and how that went where it did not go well.
func (v *statusView) lastRun(p *phases.Phase) string {
	if p.Last == nil {
		return v.dim("-")
	}
	text := v.ago(p.Last.Started)
	if p.Last.Status != runtime.OK && p.Over() {
		text += " " + v.status(p.Last.Status, string(p.Last.Status))
	}
	return text
}

// looked is when the checks of a phase were run last, and what they came to.
func (v *statusView) looked(p *phases.Phase) string {
	if p.Observed == nil {
		return v.dim("-")
	}
	return v.ago(p.Observed.At.Wall) + " " + v.verdict(p.Observed)
}

func (v *statusView) verdict(o *phases.Observed) string {
	switch o.Verdict {
	case gates.Go:
		return v.good("GO")
	case gates.Conditional:
		return v.change("COND. GO")
	case gates.NoGo:
		return v.bad("NO-GO")
	}
	return v.dim("before") // the last change
}

// mostHosts is how many hosts of a phase are all named.
const mostHosts = 12

// hosts are those of a phase, each with a mark. Of many those that are as most are only
// counted.
func (v *statusView) hosts(list []phases.Host) string {
	by := map[phases.State]int{}
	most := phases.State("")
	for _, h := range list {
		if by[h.State]++; by[h.State] > by[most] {
			most = h.State
		}
	}
	var parts []string
	for _, h := range list {
		mark, paint := v.look(h.State)
		switch {
		case len(list) <= mostHosts || h.State != most:
			parts = append(parts, whole(paint(mark)+" "+printable(h.Name)))
		case by[most] > 0:
			parts = append(parts, whole(fmt.Sprintf("%s %d of %d", paint(mark), by[most], len(list))))
			by[most] = 0
		}
	}
	return strings.Join(parts, " ")
}

// gateTime is a moment as gates name it.
func gateTime(t time.Time) string { return whole(runtime.FormatTime(t)) }
