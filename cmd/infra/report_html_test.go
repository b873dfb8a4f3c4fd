package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/journal"
)

// retold is what a page has of its lanes and strips, in a form that can be read here.
func retold(p *storyPage) string {
	var b strings.Builder
	for _, ph := range p.Phases {
		fmt.Fprintf(&b, "%s %s (%s):", ph.Name, ph.State, ph.Tone)
		for _, m := range ph.Marks {
			over := ""
			if m.Override {
				over = "!"
			}
			fmt.Fprintf(&b, " %s%s", m.Kind, over)
		}
		for _, band := range ph.Bands {
			fmt.Fprintf(&b, " %s[%.0f-%.0f]", band.Kind, band.Low, band.High)
		}
		for _, o := range ph.Opens {
			fmt.Fprintf(&b, " %q", o.Words)
		}
		if ph.Begins != nil {
			fmt.Fprintf(&b, " %q", ph.Begins.Words)
		}
		b.WriteString("\n")
		for _, st := range ph.Strips {
			fmt.Fprintf(&b, "  %s:", st.Name)
			for _, c := range st.Cells {
				b.WriteString(" " + c.Kind)
			}
			fmt.Fprintf(&b, ", %s, %s\n", st.Now, st.Words)
		}
		for _, br := range ph.Breaks {
			fmt.Fprintf(&b, "  anew %s: %s%s\n", br.At, br.Why, because(br.Checks))
		}
	}
	return b.String()
}

const migrationTold = `validation degraded (warn): failed ok nogo go done[100-100]
cinnabar stable (good): ok soak[0-21] ill[100-100] soak[0-25] partly[25-100] stable[100-100] "opened 23 Jan" "opened 13 Feb"
  reachable: ok, ok, held in 100 % of 67 looks
  zerotier peers: ok down ok, ok, held in 97 % of 67 looks
  backups are fresh: ok warned ok, ok, held in 86.6 % of 67 looks
  anew 2026-01-14 09:00 UTC: a required check failed: check zerotier peers cinnabar: down: failed 3 of 3 times: 3 of 5 peers answer
blackphos stable (good): ok soak[0-10] gap[100-100] soak[0-25] partly[25-100] stable[100-100] "opened 8 Feb" "opened 1 Mar"
  reachable: ok ok, ok, held in 100 % of 47 looks
  zerotier peers: ok ok, ok, held in 100 % of 47 looks
  backups are fresh: ok ok, ok, held in 100 % of 47 looks
  anew 2026-01-27 09:07 UTC: nobody looked for 5d
rosegold stable (good): failed! ok! soak[0-14] ill[100-100] soak[0-25] partly[25-100] stable[100-100] "opened 18 Feb" "opened 11 Mar"
  reachable: ok, ok, held in 100 % of 38 looks
  zerotier peers: ok, ok, held in 100 % of 38 looks
  backups are fresh: ok flapping ok, ok, held in 97.4 % of 38 looks
  anew 2026-02-10 09:14 UTC: a required check failed: check backups are fresh rosegold: flapping: failed 2 of 3 times: 26 h old
argentum soaking (busy): ok rollback ok soak[0-11] soak[0-66] ahead[66-100] "earliest 26 Mar"
  reachable: ok ok, ok, held in 100 % of 21 looks
  zerotier peers: ok ok, ok, held in 100 % of 21 looks
  backups are fresh: ok ok, ok, held in 100 % of 21 looks
  anew 2026-02-22 11:27 UTC: a run changed it and did not end well, or took it back
stibnite waiting (idle): "can begin 26 Mar"
cleanup waiting (idle): "can begin 9 Apr"
`

func TestReportTellsOfAMigration(t *testing.T) {
	s := migration(t)
	p := s.told(70.5)
	if got := retold(p); got != migrationTold {
		t.Errorf("got:\n%s\nwant:\n%s", got, migrationTold)
	}
	ledger, err := journal.Read(s.root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ledger.Close() }()
	proof, err := ledger.Verify()
	if err != nil || p.Head != proof.Head || p.Records != proof.Entries {
		t.Errorf("the page ends with %s of %d, the journal with %s of %d (%v)", p.Head, p.Records, proof.Head, proof.Entries, err)
	}
	if len(p.Overrides) != 2 || !p.Overrides[0].Linked || p.Overrides[0].Gate != "stable:blackphos" {
		t.Errorf("overrides: %+v", p.Overrides)
	}
	if len(p.Decisions) != 3 || p.Decisions[1].Word != "GO" || !p.Decisions[1].Linked || p.Decisions[1].Despite[0] != "backups are fresh validation" {
		t.Errorf("decisions: %+v", p.Decisions)
	}
	if p.Next == nil || p.Next.Name != "stibnite" || len(p.Runs) != 9 || p.Older != 0 || p.Others == nil || len(p.Others.Marks) != 1 {
		t.Errorf("next %+v, %d runs, %d older, others %+v", p.Next, len(p.Runs), p.Older, p.Others)
	}
	if st := p.Runs[4].Steps; st[0].Changes[0] != "nix.switch generation 41 -> 42 of rosegold" || st[1].Text != "the disk is full" || st[1].Tone != "bad" {
		t.Errorf("the steps of the run that failed: %+v", st)
	}
}

// What others wrote is text on the page, and never a part of it.
func TestReportEscapes(t *testing.T) {
	const evil = `<script>alert("x")</script><img src=x onerror='alert(1)'>` + "\x1b[31m\u202e"
	pass := runtime.NewSecret("page", "correct horse battery staple")
	s := newTale(t, map[string]string{"plans/odd.star": phaseFile("odd", strings.Trim(fmt.Sprintf("%+q", evil), `"`), 0, "")})
	s.bad["odd reachable"] = evil + pass.Reveal()
	run := s.run(0, "odd", runtime.Failed, journal.Call{Overrides: []journal.Override{{Gate: "go:" + evil, Because: evil + pass.Reveal()}}})
	s.run(0.1, "odd", runtime.OK, journal.Call{})
	s.look(1, "odd")
	s.decide(2, evil, journal.Decision{Because: evil, By: evil, Evidence: run, Despite: []string{evil}})
	s.decide(3, "odd", journal.Decision{Go: true, Because: evil, Evidence: evil})
	page := s.page(4)
	for _, no := range []string{"<script", "<img", "\x1b", "\u202e", pass.Reveal()} {
		if strings.Contains(page, no) {
			t.Errorf("the page has %q", no)
		}
	}
	if n := strings.Count(page, `&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;`); n < 8 {
		t.Errorf("the page tells %d times what it has to tell", n)
	}
}

// However much was observed, the page is one that a browser shows at once.
func TestReportIsBounded(t *testing.T) {
	s := newTale(t, map[string]string{
		"plans/first.star":  phaseFile("first", "First", 1, ""),
		"plans/second.star": phaseFile("second", "Second", 2, `stable("first", "28d", at_least = "4/hour")`),
	})
	s.run(0, "first", runtime.OK, journal.Call{})
	s.observeOften("first", 30000)
	page := s.page(101)
	if len(page) > 2<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	if bands, cells := strings.Count(page, `class="band`), strings.Count(page, `class="c-`); bands > 2*slots || cells > 3*slots {
		t.Errorf("the page has %d bands and %d cells of 3 checks", bands, cells)
	}
	if !strings.Contains(page, "of 30000 looks") || !strings.Contains(page, `data-kind="ill"`) {
		t.Error("the page does not tell of the observations")
	}
}

func TestReportWantsAPlaceForThePage(t *testing.T) {
	s := newTale(t, map[string]string{})
	for _, args := range [][]string{{"report"}, {"report", "--html", "no/such/folder/page.html"}, {"report", "--html", "."}, {"report", "x", "--html", "-"}} {
		if code, _, words := s.infra(0, args...); code != exitUsage || words == "" {
			t.Errorf("infra %v ended with %d: %s", args, code, words)
		}
	}
	code, out, words := s.infra(0, "report", "--html", "-") // nothing was recorded, and there is no plan
	if code != exitOK || !strings.Contains(out, "Nothing has been recorded.") || words != "" {
		t.Errorf("ended with %d: %s", code, words)
	}
	path := filepath.Join(s.t.TempDir(), "page.html")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, words := s.infra(0, "report", "--html", path); code != exitOK {
		t.Fatalf("ended with %d: %s", code, words)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 || info.Size() < 1000 {
		t.Errorf("the page is %v (%v)", info, err)
	}
}

// told is what the page says at a moment.
func (s *tale) told(days float64) *storyPage {
	s.t.Helper()
	a := &app{clock: func() clock.Instant { return atInstant(days) }, getenv: os.Getenv}
	p, err := a.storyPage(s.t.Context(), s.root)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}
