package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"infra/runtime"
	"infra/runtime/journal"
)

// runTable lists runs, one a line. Times are shown as the zone of now has them.
func runTable(runs []journal.Run, now time.Time, p palette) string {
	rows := [][]string{{p.dim("RUN"), p.dim("STARTED"), p.dim("PLAN"), p.dim("STATUS"), p.dim("TOOK"), p.dim("CHANGED"), p.dim("BY")}}
	for _, r := range runs {
		status, took, changed := p.status(r.Status, string(r.Status)), tookOr(r.Took, r.Ended.IsZero()), fmt.Sprintf("%d of %d", r.Changed, r.Asked)
		if d := r.Call().Decision; d != nil {
			status, took, changed = p.decided(d), "-", "-"
		}
		rows = append(rows, []string{
			r.ID, r.Started.In(now.Location()).Format("2006-01-02 15:04") + p.dim(" ("+age(now.Sub(r.Started))+")"), printable(r.Plan),
			status, took, changed,
			printable(r.User + "@" + r.Host),
		})
	}
	return strings.Join(table(rows), "\n") + "\n"
}

// table aligns columns. Unlike text/tabwriter it knows that colours have no
// width and that some letters have two.
func table(rows [][]string) []string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	lines := make([]string, len(rows))
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell + strings.Repeat(" ", widths[i]-ansi.StringWidth(cell)+2))
		}
		lines[n] = strings.TrimRight(b.String(), " ")
	}
	return lines
}

// age is how long ago something was.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "in the future"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

func tookOr(d time.Duration, unknown bool) string {
	if unknown {
		return "-"
	}
	return elapsed(d)
}

// A runView prints one run.
type runView struct {
	palette
	out    io.Writer
	now    time.Time
	folder string // of the run's outputs
	whole  bool   // print outputs from the first line to the last
}

func (v runView) line(indent int, text string) {
	fmt.Fprintf(v.out, "%*s%s\n", indent, "", text)
}

func (v runView) print(r journal.Run) {
	if d := r.Call().Decision; d != nil {
		v.decision(r, d)
		return
	}
	head := v.bold("run " + r.ID + " of " + printable(r.File))
	if r.Title != "" {
		head += v.dim(": " + oneLine(r.Title))
	}
	v.line(0, head)
	ending := v.status(r.Status, string(r.Status))
	if r.Status != journal.Unfinished {
		ending += " in " + elapsed(r.Took)
	}
	v.line(0, ending+": "+count(r.Asked, "operation")+", "+count(r.Changed, "change"))
	v.line(0, v.dim(fmt.Sprintf("started %s (%s) by %s on %s, infra %s", r.Started.In(v.now.Location()).Format("2006-01-02 15:04:05 MST"),
		age(v.now.Sub(r.Started)), printable(r.User), printable(r.Host), cmp.Or(r.Version, "of unknown version"))))
	for _, c := range r.Resumes {
		v.line(0, v.dim(fmt.Sprintf("resumed %s by %s on %s; before, it was ", c.Time.In(v.now.Location()).Format("2006-01-02 15:04:05 MST"),
			printable(c.User), printable(c.Host)))+v.status(c.Before.Status, string(c.Before.Status))+because(c.Before.Err))
	}
	v.failure(0, r.Err, r.Hint)
	for _, l := range r.Logs {
		v.line(0, hang(printable(l.Text), ""))
	}
	for _, s := range r.Steps {
		v.line(0, "")
		v.step(s)
	}
}

// because is an error behind how something ended.
func because(err string) string {
	if err == "" {
		return ""
	}
	return ": " + oneLine(err)
}

// failure prints an error and what to do about it.
func (v runView) failure(indent int, msg, hint string) {
	margin := strings.Repeat(" ", indent+2)
	if msg != "" {
		v.line(indent, v.bad("error:")+" "+hang(printable(msg), margin))
	}
	if hint != "" {
		v.line(indent, v.active("hint:")+" "+hang(printable(hint), margin))
	}
}

func (v runView) step(s journal.Step) {
	text := v.bold(instance{s.Name, s.Host, s.Check}.title()) + "  " + v.status(s.Status, string(s.Status))
	if !s.Started.IsZero() && s.Status != journal.Unfinished {
		text += " " + elapsed(s.Took)
	}
	if s.Attempts > 1 {
		text += fmt.Sprintf(", %d attempts", s.Attempts)
	}
	reason := s.Text
	if s.Status != runtime.Failed {
		reason = cmp.Or(reason, s.Err)
	}
	if reason != "" {
		text += ": " + oneLine(reason)
	}
	v.line(0, text)
	for _, e := range s.Earlier {
		v.line(2, v.dim("- before the run was resumed: ")+v.status(e.Status, string(e.Status))+because(e.Err))
	}
	v.happenings(s)
	said := func(o journal.Op) bool { return o.Err != "" && strings.Contains(s.Err, o.Err) }
	if s.Status == runtime.Failed && !slices.ContainsFunc(s.Ops, said) {
		v.failure(2, s.Err, s.Hint)
	}
}

// happenings prints a step's operations, and what the plan said, in the order
// in which they came.
func (v runView) happenings(s journal.Step) {
	logs := s.Logs
	for i, line := range v.opLines(s) {
		for len(logs) > 0 && logs[0].After < s.Ops[i].ID {
			v.log(logs[0])
			logs = logs[1:]
		}
		v.line(2, line)
		v.op(s.Ops[i])
	}
	for _, l := range logs {
		v.log(l)
	}
}

func (v runView) log(l journal.Log) {
	text := hang(printable(l.Text), "    ")
	if l.Kind == runtime.StepRetried {
		text = v.change("trying again:") + " " + text
	}
	v.line(2, v.dim("-")+" "+text)
}

func (v runView) opLines(s journal.Step) []string {
	var rows [][]string
	for _, o := range s.Ops {
		effect := o.Verdict
		if o.Changed {
			effect = "changed"
		}
		name := o.Name
		if o.Host != "" && o.Host != s.Host {
			name += " " + o.Host
		}
		rows = append(rows, []string{strconv.Itoa(o.ID), v.status(o.Status, string(o.Status)), tookOr(o.Took, o.Status == journal.InFlight),
			v.change(effect), name, oneLine(o.Show)})
	}
	return table(rows)
}

// op prints what there is below an operation's line.
func (v runView) op(o journal.Op) {
	const indent = 6
	v.failure(indent, o.Err, o.Hint)
	if o.Err != "" && o.Pos.IsValid() {
		v.line(indent, v.dim("at "+o.Pos.String()))
	}
	if by := doneBy(o); by != "" {
		if strings.Contains(o.Show, "\n") {
			v.line(indent, hang(printable(o.Show), strings.Repeat(" ", indent)))
		}
		v.line(indent, printable(by))
	}
	if o.Detail != "" {
		v.line(indent, hang(printable(o.Detail), strings.Repeat(" ", indent)))
	}
	if o.Output == "" {
		return
	}
	path := filepath.Join(v.folder, o.Output)
	v.line(indent, v.dim(path))
	var err error
	switch {
	case v.whole:
		err = v.output(indent, path, 0)
	case o.Status == runtime.Failed:
		err = v.output(indent, path, lastOfOutput)
	}
	if err != nil {
		v.line(indent, v.dim("its output cannot be read: "+err.Error()))
	}
}

// lastOfOutput is how many lines are shown of what a failed operation printed.
const lastOfOutput = 10

// output prints a file's last lines, or, for 0, all of them.
func (v runView) output(indent int, path string, last int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	var kept []string
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			kept = append(kept, line)
		}
		if excess := len(kept) - last; excess > 0 && last > 0 {
			kept = kept[excess:]
		}
		if last == 0 || err != nil {
			v.quote(indent, kept)
			kept = kept[:0]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (v runView) quote(indent int, lines []string) {
	for _, line := range lines {
		v.line(indent, v.dim("|")+" "+printable(lastDrawn(line)))
	}
}
