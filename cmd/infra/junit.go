package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"time"

	"infra/runtime"
)

// writeJUnit writes reports as CI systems read the results of tests: a run is a
// suite, a step on a host is a test, and so is a check.
func writeJUnit(path string, runs ...*report) error {
	content, err := junitOf(runs...)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return replaceFile(path, content)
}

type junitSuites struct {
	XMLName xml.Name `xml:"testsuites"`
	Name    string   `xml:"name,attr"`
	junitCounts
	Suites []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name string `xml:"name,attr"`
	junitCounts
	Timestamp  string          `xml:"timestamp,attr,omitempty"`
	Properties []junitProperty `xml:"properties>property,omitempty"`
	Cases      []junitCase     `xml:"testcase"`
}

// junitCounts are what every level counts; time is in seconds.
type junitCounts struct {
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"`
	Errors   int    `xml:"errors,attr"`
	Skipped  int    `xml:"skipped,attr"`
	Time     string `xml:"time,attr"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

// A junitCase is one test: it passed unless it has one of the outcomes.
type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int32         `xml:"line,attr,omitempty"`
	Time    string        `xml:"time,attr"`
	Failure *junitOutcome `xml:"failure"`
	Error   *junitOutcome `xml:"error"`
	Skipped *junitOutcome `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitOutcome struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// junitOf is reports as XML. What XML cannot hold is replaced.
func junitOf(runs ...*report) ([]byte, error) {
	all := junitSuites{Name: "infra"}
	var cases []junitCase
	var took time.Duration
	for _, r := range runs {
		suite := r.junitSuite()
		all.Suites = append(all.Suites, suite)
		cases = append(cases, suite.Cases...)
		if r.end != nil {
			took += r.end.Took
		}
	}
	all.junitCounts = counted(cases)
	all.Time = junitSeconds(took)
	var b bytes.Buffer
	b.WriteString(xml.Header)
	enc := xml.NewEncoder(&b)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return nil, err
	}
	b.WriteString("\n")
	return b.Bytes(), nil
}

func (r *report) junitSuite() junitSuite {
	suite := junitSuite{Name: oneLine(r.plan()), Properties: r.properties()}
	if u := r.undoes(); u != nil {
		suite.Name += ": undo of run " + u.Run
	}
	if !r.began.IsZero() {
		suite.Timestamp = r.began.UTC().Format("2006-01-02T15:04:05")
	}
	for _, c := range r.cases {
		suite.Cases = append(suite.Cases, r.junitCase(c))
	}
	for _, d := range r.problems() {
		suite.Cases = append(suite.Cases, r.junitProblem(d))
	}
	suite.junitCounts = counted(suite.Cases)
	if r.end != nil {
		suite.Time = junitSeconds(r.end.Took)
	}
	return suite
}

// properties say which run it was, and its outcome in one line.
func (r *report) properties() []junitProperty {
	ps := []junitProperty{{"summary", r.summary()}, {"exit_code", fmt.Sprint(r.code)}}
	if r.start != nil {
		ps = append(ps, junitProperty{"run", r.run}, junitProperty{"dry_run", fmt.Sprint(r.start.DryRun)})
	}
	if u := r.undoes(); u != nil {
		ps = append(ps, junitProperty{"undoes", u.Run})
		for _, l := range leftLines(u) {
			ps = append(ps, junitProperty{"not_taken_back", oneLine(l)})
		}
	}
	return ps
}

func counted(cases []junitCase) junitCounts {
	n := junitCounts{Tests: len(cases), Time: junitSeconds(0)}
	for _, c := range cases {
		switch {
		case c.Failure != nil:
			n.Failures++
		case c.Error != nil:
			n.Errors++
		case c.Skipped != nil:
			n.Skipped++
		}
	}
	return n
}

func junitSeconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// junitCase is a step or a check. Of a dry run, what is not known is skipped,
// and a failure where it must be known.
func (r *report) junitCase(c *reportCase) junitCase {
	d := c.reason()
	j := junitCase{Name: c.who.title(), Class: r.class(), Time: junitSeconds(0), Out: c.told(r)}
	if c.end != nil {
		j.Time = junitSeconds(c.end.Took)
		d.pos = r.located(d.pos)
	}
	if d.pos.IsValid() {
		j.File, j.Line = d.pos.Filename(), d.pos.Line
	}
	out := &junitOutcome{Message: oneLine(d.msg), Type: string(c.status()), Text: strings.TrimSpace(d.block("", nil, false))}
	switch st := c.status(); {
	case st == runtime.Failed || st == runtime.Held:
		j.Failure = out
	case st == runtime.Interrupted:
		j.Error = out
	case r.strict && len(ofKind(c.findings, unknown)) > 0:
		j.Failure = r.unknowns(c)
	case st == runtime.Stopped || st == runtime.Skipped || st == runtime.Warned:
		j.Skipped = out
	}
	return j
}

// unknowns is why --strict fails a case.
func (r *report) unknowns(c *reportCase) *junitOutcome {
	list := ofKind(c.findings, unknown)
	var lines []string
	for _, f := range list {
		line := joinParts([]string{f.subject(), oneLine(f.msg)}, ": ")
		if f.pos.IsValid() {
			line += " (" + lineOf(r.located(f.pos)) + ")"
		}
		lines = append(lines, hinting(line, f.hint))
	}
	first := joinParts([]string{list[0].subject(), oneLine(list[0].msg)}, ": ")
	return &junitOutcome{Message: fmt.Sprintf("%d unknown: %s", len(list), first), Type: "unknown", Text: strings.Join(lines, "\n")}
}

// told is what a case did or would do, and what its plan said.
func (c *reportCase) told(r *report) string {
	var b strings.Builder
	for _, e := range c.ops {
		op, word := e.Op.Op, string(e.Status)
		if p := e.Op.Prediction; p != nil && e.Status == runtime.OK {
			word = p.Verdict.String()
		} else if e.Op.Changed {
			word = "changed"
		}
		line := joinParts([]string{op.Name, op.Host, strings.TrimSpace(printable(op.Show))}, " ")
		fmt.Fprintf(&b, "%s: %s", word, hang(withNote(line, noteOf(e)), "    "))
		if op.Pos.IsValid() {
			b.WriteString(" (" + lineOf(r.located(op.Pos)) + ")")
		}
		b.WriteString("\n")
		if p := e.Op.Prediction; p != nil && p.Detail != "" {
			b.WriteString(indentLines(bounded(strings.TrimRight(printable(p.Detail), "\n"))+"\n", "    "))
		}
	}
	for _, text := range c.logs {
		b.WriteString("| " + hang(text, "| ") + "\n")
	}
	return b.String()
}

// junitProblem is one reason why the plan could not be run.
func (r *report) junitProblem(d details) junitCase {
	d.pos = r.located(d.pos)
	j := junitCase{Name: "the plan can be run", Class: r.class(), Time: junitSeconds(0)}
	if d.pos.IsValid() {
		j.File, j.Line = d.pos.Filename(), d.pos.Line
		j.Name += ": " + lineOf(d.pos)
	}
	j.Error = &junitOutcome{Message: oneLine(d.msg), Type: "problem", Text: strings.TrimSpace(d.block("", nil, false))}
	return j
}

// class groups the tests of one plan.
func (r *report) class() string { return strings.TrimSuffix(oneLine(r.plan()), ".star") }
