package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"infra/runtime"
)

func TestSummary(t *testing.T) {
	for name, r := range map[string]*report{
		"summary-ok.md":      reportOn(okRun(), false, 0),
		"summary-failed.md":  reportOn(failedRun(), false, 1),
		"summary-dry.md":     reportOn(dryRun(), false, 0),
		"summary-fleet.md":   reportOn(fleetDryRun(3), false, 0),
		"summary-refused.md": refusal(unreadable),
	} {
		golden(t, name, markdown(r, maxSummary))
	}
}

// A fleet's summary is cut where GitHub would drop it, says so, and leaves
// nothing open.
func TestSummaryIsCut(t *testing.T) {
	r := reportOn(fleetDryRun(1000), false, 0)
	whole := markdown(r, 1<<30)
	for _, room := range []int{300, 5000, 50_000, len(whole) - 1} {
		got := markdown(r, room)
		if len(got) > room {
			t.Errorf("%d bytes of %d", len(got), room)
		}
		if !strings.Contains(got, "This is cut") || strings.Count(got, "<details>") != strings.Count(got, "</details>") || strings.Count(got, "\n````")%2 != 0 {
			t.Errorf("not cut well at %d:\n%s", room, got[max(0, len(got)-400):])
		}
	}
	if strings.Contains(whole, "This is cut") || !strings.Contains(whole, "mac-999") {
		t.Error("cut without need")
	}
	if n := strings.Count(whole, "\n| "); n > 5 {
		t.Errorf("%d rows of a table for hosts of which most go the same way", n)
	}
}

// Several runs of one step share the file and its limit.
func TestSummaryIsAppended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "summary.md")
	for range 2 {
		if err := appendSummary(path, reportOn(okRun(), false, 0)); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := os.ReadFile(path)
	if n := strings.Count(string(got), "### run of"); n != 2 {
		t.Errorf("%d summaries", n)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 1<<20-2000)), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := appendSummary(path, reportOn(fleetDryRun(100), false, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 1<<20 {
		t.Errorf("%v: %d bytes are more than GitHub takes", err, info.Size())
	}
}

func FuzzMarkdown(f *testing.F) {
	f.Add("a|b", "`<script>`\n````\n</details>", "```")
	f.Add("[x](javascript:1)", "<b>*_~@#$:\\", "\\`")
	f.Fuzz(func(t *testing.T, name, msg, detail string) {
		s := &script{}
		s.start(true, []*runtime.Step{{Name: name, Doc: msg}}, nil)
		s.ask(name, "", runtime.Op{Name: name, Show: msg, Host: detail})(0, runtime.OK, predict(runtime.WillDestroy, detail))
		s.end(0, name, "", runtime.OK, nil)
		got := markdown(reportOn(s.events, false, 0), maxSummary)
		fence, inTable := "", false
		for _, line := range strings.Split(got, "\n") {
			bare := strings.TrimSpace(line)
			if fence != "" {
				if bare == fence {
					fence = ""
				}
				continue
			}
			if strings.HasPrefix(bare, "```") {
				fence = bare[:longestRun(bare, '`')]
				continue
			}
			inTable = strings.HasPrefix(line, "| ")
			if cells := strings.Count(strings.ReplaceAll(strings.ReplaceAll(line, `\\`, ""), `\|`, ""), "|"); inTable && cells != 8 {
				t.Fatalf("a row of %d cells: %q", cells-1, line)
			}
		}
		if fence != "" {
			t.Fatalf("a fence is left open:\n%s", got)
		}
	})
}

// Of prose, nothing but what infra wrote means anything to Markdown.
func TestProseIsEscaped(t *testing.T) {
	for in, want := range map[string]string{
		"<img src=x>":    `\<img src=x\>`,
		"a|b `c` *d*":    "a\\|b \\`c\\` \\*d\\*",
		"[x](y) @me #12": `\[x\](y) \@me \#12`,
		"two\nlines":     "two …",
		"$x$ ~y~ &amp;":  `\$x\$ \~y\~ \&amp;`,
	} {
		if got := mdText(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"a": "`a`", "`": "`` ` ``", "a``b": "```a``b```", "": ""} {
		if got := mdCode(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
