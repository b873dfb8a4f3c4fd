package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"infra/runtime"
)

func junitText(t *testing.T, r *report) string {
	t.Helper()
	text, err := junitOf(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestJUnit(t *testing.T) {
	cut := dryRun()
	for name, r := range map[string]*report{
		"junit-ok.xml":      reportOn(okRun(), false, 0),
		"junit-failed.xml":  reportOn(failedRun(), false, 1),
		"junit-dry.xml":     reportOn(dryRun(), false, 0),
		"junit-strict.xml":  reportOn(append(cut[:len(cut)-1:len(cut)-1], runtime.Event{Kind: runtime.Doubted, Step: "vars", Text: "which comes first is not fixed", Pos: at(planFile, 3, 1)}, cut[len(cut)-1]), true, 1),
		"junit-cut.xml":     reportOn(failedRun()[:4], false, 130),
		"junit-refused.xml": refusal(unreadable),
	} {
		text := junitText(t, r)
		golden(t, name, text)
		wellFormed(t, text)
	}
}

func wellFormed(t *testing.T, text string) {
	t.Helper()
	for dec := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("no XML: %v\n%q", err, text)
		}
	}
}

// Whatever a tool prints, the file is XML and says it.
func FuzzJUnit(f *testing.F) {
	f.Add("a", "b\x00\x1b[31m\xff\ufffe]]>", "<&\"'>")
	f.Add("\x0b", "\U0010ffff\ud7ff\r\n\t", "&#0;")
	f.Fuzz(func(t *testing.T, name, msg, detail string) {
		s := &script{}
		s.start(true, []*runtime.Step{{Name: name, Doc: msg}}, nil)
		s.ask(name, "", runtime.Op{Name: msg, Show: detail, Pos: at(name, 1, 1)})(0, runtime.OK, predict(runtime.WillChange, detail))
		s.add(0, runtime.Event{Kind: runtime.Logged, Step: name, Text: detail})
		s.end(0, name, "", runtime.Failed, runtime.WithHint(errors.New(msg), "%s", detail))
		r := reportOn(s.events, true, 1)
		r.refused = errors.New(detail)
		text := junitText(t, r)
		wellFormed(t, text)
		var back junitSuites
		if err := xml.Unmarshal([]byte(text), &back); err != nil {
			t.Fatal(err)
		}
		if back.Tests != 2 && name != "" || len(back.Suites) != 1 {
			t.Fatalf("%d tests: %s", back.Tests, text)
		}
	})
}

func TestJUnitFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "results.xml")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writable(path); err != nil {
		t.Fatal(err)
	}
	if err := writeJUnit(path, reportOn(okRun(), false, 0)); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != junitText(t, reportOn(okRun(), false, 0)) {
		t.Errorf("%v: %s", err, got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, mode %v", err, info.Mode())
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, left: %v", err, entries)
	}
	for _, bad := range []string{filepath.Join(dir, "none", "x.xml"), filepath.Join(path, "x.xml"), dir, "/dev/null"} {
		if err := writable(bad); err == nil || runtime.HintOf(err) == "" {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
