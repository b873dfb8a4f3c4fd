package nix

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"infra/runtime"
)

// recorded is what one nix said, by the name of what it did.
func recorded(t testing.TB, version string) map[string][]byte {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata/internal-json", version+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	said := map[string][]byte{}
	for _, f := range archive.Files {
		said[f.Name] = f.Data
	}
	return said
}

// A listener reads what a nix says, at a clock of its own.
type listener struct {
	*activities
	log   bytes.Buffer
	parts []runtime.Part
	clock time.Time
}

func newListener() *listener {
	l := &listener{clock: time.Unix(1700000000, 0)}
	l.activities = newActivities(func(p runtime.Part) { l.parts = append(l.parts, p) })
	l.out, l.now = &l.log, func() time.Time { return l.clock }
	return l
}

// hear takes a stream in which every line comes a second after the one before.
func (l *listener) hear(said []byte) {
	for line := range bytes.Lines(said) {
		_, _ = l.Write(line)
		l.clock = l.clock.Add(time.Second)
		l.report()
	}
	l.end()
}

// told is what people were told, one part a line.
func (l *listener) told() string {
	var b strings.Builder
	for _, p := range l.parts {
		over := ""
		if p.Over {
			over = "!"
		}
		fmt.Fprintf(&b, "%s|%s%s|%s|%s\n", p.Name, p.Does, over, p.Detail, p.Sum)
	}
	return b.String()
}

// TestActivities reads what each nix said when it built, failed, copied and
// fetched: people get the lines that nix prints without a format for programs, with
// the name of who says them, and are told how far it is.
func TestActivities(t *testing.T) {
	const failures = "fail-1.0 failed with exit code 3: 20 lines to line-30\nfail2-1.0 failed due to signal 9 (Killed): 4 lines to two\n" +
		"fail3-1.0 failed to produce output path for output 'out': 0 lines to \n"
	for _, tt := range []struct {
		name             string
		log, told        []string
		failures, in2_34 string
	}{
		{name: "build", log: []string{"building '/nix/store/zvlbcmxxhilqksarr6cl70v2x2naj7cr-lib-1.0.drv'\nlib-1.0> unpacking\n", "hello-1.0> warning: fake\nwarning: you did not specify"},
			told: []string{"lib-1.0|building|unpackPhase|0 of 2 builds\n", "lib-1.0|building|buildPhase|0 of 2 builds\n", "lib-1.0|built!||1 of 2 builds\n", "hello-1.0|building|buildPhase|1 of 2 builds\n", "hello-1.0|built!||2 of 2 builds\n"}},
		{name: "fail", log: []string{"fail-1.0> line-30\nerror: ", "fail2-1.0> two\nerror: "},
			told:     []string{"fail-1.0|failed!||0 of ", "builds, 1 failed\n", "fail3-1.0|failed!||", "|||0 of 3 builds, 3 failed\n"},
			failures: failures},
		{name: "fail-by-daemon", log: []string{"fail-1.0> line-30\nerror: "}, told: []string{"|||0 of 3 builds, 3 failed\n"}, failures: failures},
		{name: "among", log: []string{"first-1.0> gives up\n"}, told: []string{"first-1.0|building|buildPhase|0 of 3 builds\n", "|||0 of 3 builds, 1 failed\n", "first-1.0|failed!||0 of 3 builds, 1 failed\n"},
			failures: "first-1.0 failed with exit code 3: 4 lines to gives up\n"},
		{name: "mismatch", told: []string{"mismatch-1.0|failed!||0 of 1 build, 1 failed\n"},
			failures: "mismatch-1.0 failed with a hash mismatch (specified sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=, got sha256-mOpuTyFvL7S2n/+bOkSELDhobKaF8/VdxIxdP7EQe+Q=): 1 lines to downloading\n"},
		{name: "timeout", told: []string{"slow-1.0|building|buildPhase|0 of 1 build\n", "slow-1.0|failed!|"}, failures: "slow-1.0 timed out after 1 seconds: 3 lines to warning: fake\n"},
		{name: "silent", failures: "silent-1.0 timed out after 1 seconds of silence: 3 lines to warning: fake\n",
			in2_34: "silent-1.0 timed out after 1 seconds: 3 lines to warning: fake\n"},
		{name: "copy", log: []string{"copying 2 paths\n", "copying path '/nix/store/m5r9s71mmpcp9nsz8ccs8cfybay6ra8c-lib-1.0' to 'ssh-ng://"},
			told: []string{"|||0 of 2 paths", "hello-1.0|copying||0 of 2 paths", "hello-1.0|copying|0.7 of 2.9 MiB|0 of 2 paths, 0.7 of 2.9 MiB\n", "hello-1.0|copied!|2.9 MiB|1 of 2 paths, 2.9 of 2.9 MiB\n", "lib-1.0|copied!|120 B|2 of 2 paths, 2.9 of 2.9 MiB\n"}},
		{name: "fetch", log: []string{"this path will be fetched (2.", "from 'file:///tmp/rec/cache-"},
			told: []string{"hello-1.0|fetching|1.0 of 2.9 MiB|0 of 1 path, 1.0 of 2.9 MiB\n", "hello-1.0|fetched!|2.9 MiB|1 of 1 path, 2.9 of 2.9 MiB\n"}},
		{name: "eval", log: []string{"trace: a trace\nerror:", "boom\n"}, told: []string{"copying ", "|done!||\n"}},
		{name: "dry", log: []string{"this derivation will be built:\n  /nix/store/nf9lql649ld5vjf655zqgp30hn41mjig-fail-1.0.drv\n"}},
	} {
		for _, version := range []string{"2.8", "2.26", "2.34"} {
			l := newListener()
			if l.hear(recorded(t, version)[tt.name]); l.log.Len() == 0 {
				t.Fatalf("%s has no %s", version, tt.name)
			}
			told := tt.told
			if version == "2.8" && tt.name == "copy" { // it tells no bytes
				told = []string{"|||0 of 2 paths\n", "hello-1.0|copying||0 of 2 paths\n", "hello-1.0|copied!||1 of 2 paths\n", "lib-1.0|copied!||2 of 2 paths\n"}
			}
			if tt.name == "among" { // nix stopped the other
				checkOrder(t, version+" told", l.told(), []string{"long-1.0|building|", "long-1.0|not finished!|"})
			}
			checkOrder(t, version+" "+tt.name+" log", l.log.String(), tt.log)
			checkOrder(t, version+" "+tt.name+" told", l.told(), told)
			if strings.ContainsAny(l.log.String(), "\x1b") || strings.Contains(l.log.String(), "@nix") {
				t.Errorf("%s %s: not for people:\n%s", version, tt.name, l.log.String())
			}
			for _, line := range l.said {
				if strings.HasPrefix(line, "building '") || strings.HasPrefix(line, "copying ") || strings.Contains(line, "-1.0> ") {
					t.Errorf("%s %s: an error would quote %q", version, tt.name, line)
				}
			}
			if failed := strings.Contains(l.log.String(), "\nerror:"); failed && len(l.said) == 0 {
				t.Errorf("%s %s: an error would quote nothing", version, tt.name)
			}
			want := tt.failures
			if version == "2.34" && tt.in2_34 != "" {
				want = tt.in2_34
			}
			if got := l.failuresText(); got != want {
				t.Errorf("%s %s: failed\n%swant\n%s", version, tt.name, got, want)
			}
		}
	}
}

// checkOrder fails unless text has wants, one after the other.
func checkOrder(t *testing.T, what, text string, wants []string) {
	t.Helper()
	rest := text
	for _, want := range wants {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Errorf("%s lacks %q, or it comes too early:\n%s", what, want, text)
			return
		}
		rest = after
	}
}

// failuresText is a line for each failure.
func (l *listener) failuresText() string {
	var b strings.Builder
	for _, f := range l.failures() {
		last := ""
		if len(f.tail) > 0 {
			last = f.tail[len(f.tail)-1]
		}
		reason, _, _ := strings.Cut(f.reason, " at ")
		fmt.Fprintf(&b, "%s %s: %d lines to %s\n", drvName(f.drv), reason, len(f.tail), last)
	}
	return b.String()
}

// TestPlanOfActivities: the lists of a dry run are read from what is for people.
func TestPlanOfActivities(t *testing.T) {
	for _, version := range []string{"2.8", "2.26", "2.34"} {
		l := newListener()
		l.hear(recorded(t, version)["dry"])
		if got := planOf(l.log.String()).String(); got != "1 derivation would be built:\n  fail-1.0" {
			t.Errorf("%s: %q", version, got)
		}
	}
}

const start105 = `@nix {"action":"start","fields":["/nix/store/nf9lql649ld5vjf655zqgp30hn41mjig-%s.drv","%s",1,1],"id":%d,"level":3,"text":"building it","type":105}` + "\n"

// TestMessages holds what nix may say, and what comes in between.
func TestMessages(t *testing.T) {
	progress := func(n string) string { return `@nix {"action":"result","fields":[` + n + `],"id":2,"type":105}` + "\n" }
	for _, tt := range []struct{ name, said, log, told, failures string }{
		{name: "lines of others", said: "ssh: a\r\nplain", log: "ssh: a\nplain\n"},
		{name: "a child that does not end its line", said: `Last login@nix {"action":"msg","level":3,"msg":"hi"}` + "\n", log: "Last login\nhi\n"},
		{name: "no JSON", said: "@nix {\n@nix [1]\n@nix null\n@nix {}\n@nix", log: "@nix {\n@nix [1]\n@nix null\n@nix {}\n@nix\n"},
		{name: "an id that a float64 does not hold", said: fmt.Sprintf(start105, "a", "", uint64(9007199254740993)) + fmt.Sprintf(start105, "b", "", uint64(9007199254740992)) +
			`@nix {"action":"stop","id":9007199254740993}` + "\n" + fmt.Sprintf(start105, "c", "", uint64(18446744073709551615)),
			log:  "building it\nbuilding it\nbuilding it\n",
			told: "a|building||\nb|building||\na|built!||\nc|building||\nb|not finished!||\nc|not finished!||\n"},
		{name: "two of one name, one elsewhere", said: fmt.Sprintf(start105, "a", "", 1) + strings.ReplaceAll(fmt.Sprintf(start105, "a", "ssh://mac", 2), "nf9", "000") + `@nix {"action":"stop","id":1}` + "\n" + `@nix {"action":"stop","id":2}`,
			log:  "building it\nbuilding it\n",
			told: "a|building||\n000lql649ld5vjf655zqgp30hn41mjig-a.drv|building|ssh://mac|\na|built!||\n000lql649ld5vjf655zqgp30hn41mjig-a.drv|built!|ssh://mac|\n"},
		{name: "numbers without sense", said: `@nix {"action":"start","id":2,"type":104}` + "\n" + progress("-1,99999999999999999999") + progress(`"x",1.5,{}`) + progress("1e3") + progress("") + progress("1,9223372036854775807"),
			told: "|||1 of 281474976710656 builds\n"},
		{name: "a build that ends well after one that failed without a builder", said: `@nix {"action":"start","id":2,"type":104}` + "\n" + fmt.Sprintf(start105, "a", "", 1) + progress("0,2,1,1") + progress("1,2,0,1") + `@nix {"action":"stop","id":1}` + "\n",
			log: "building it\n", told: "a|building||\n|||0 of 3 builds, 1 failed\n|||1 of 3 builds, 1 failed\na|built!||1 of 3 builds, 1 failed\n"},
		{name: "one of two that end together failed", said: `@nix {"action":"start","id":2,"type":104}` + "\n" + fmt.Sprintf(start105, "a", "", 1) + fmt.Sprintf(start105, "b", "", 3) + progress("0,1,0,1") + `@nix {"action":"stop","id":1}` + "\n" + `@nix {"action":"stop","id":3}` + "\n",
			log: "building it\nbuilding it\n", told: "a|building||\nb|building||\n|||0 of 2 builds, 1 failed\na|failed!||0 of 2 builds, 1 failed\nb|not finished!||0 of 2 builds, 1 failed\n", failures: "a : 0 lines to \n"},
		{name: "a failure that only a message tells", said: `@nix {"action":"msg","level":0,"msg":"\u001b[31;1merror:\u001b[0m builder for '/nix/store/nf9lql649ld5vjf655zqgp30hn41mjig-a.drv' failed with exit code 1;\n       last 1 log lines:\n       > x"}`,
			log: "error: builder for '/nix/store/nf9lql649ld5vjf655zqgp30hn41mjig-a.drv' failed with exit code 1;\n       last 1 log lines:\n       > x\n", failures: "a failed with exit code 1: 0 lines to \n"},
		{name: "no message of nix", said: "error: builder for '/nix/store/nf9lql649ld5vjf655zqgp30hn41mjig-a.drv' failed with exit code 1\n",
			log: "error: builder for '/nix/store/nf9lql649ld5vjf655zqgp30hn41mjig-a.drv' failed with exit code 1\n"},
		{name: "a download that is no path", said: `@nix {"action":"start","fields":["https://x/y.tar.gz"],"id":3,"level":3,"text":"downloading it","type":101}` + "\n" + `@nix {"action":"result","fields":[1048576,3145728,0,0],"id":3,"type":105}` + "\n" + `@nix {"action":"stop","id":3}`,
			log: "downloading it\n", told: "https://x/y.tar.gz|downloading||\nhttps://x/y.tar.gz|downloading|1.0 of 3.0 MiB|\nhttps://x/y.tar.gz|downloaded!|3.0 MiB|\n"},
	} {
		l := newListener()
		l.hear([]byte(tt.said))
		if got := l.log.String(); got != tt.log {
			t.Errorf("%s: log\n%q\nwant\n%q", tt.name, got, tt.log)
		}
		if got := l.told(); got != tt.told {
			t.Errorf("%s: told\n%swant\n%s", tt.name, got, tt.told)
		}
		if got := l.failuresText(); got != tt.failures {
			t.Errorf("%s: failed %q, want %q", tt.name, got, tt.failures)
		}
	}
}

// TestLineWithoutAnEnd: it takes a bounded place.
func TestLineWithoutAnEnd(t *testing.T) {
	l := newListener()
	piece := bytes.Repeat([]byte("x"), 1<<16)
	for range 20 * longestLine / len(piece) {
		_, _ = l.Write(piece)
	}
	if held := cap(l.lines.pending); held > 2*longestLine {
		t.Errorf("it holds %d bytes", held)
	}
	if l.end(); !strings.HasSuffix(l.log.String(), fmt.Sprintf("xx [%d bytes of this line were left out]\n", 19*longestLine)) {
		t.Errorf("it said %d bytes", l.log.Len())
	}
}

// TestTellingIsBounded: however much nix says, people are told once a second,
// and of a few at once.
func TestTellingIsBounded(t *testing.T) {
	l := newListener()
	for id := range 100 {
		fmt.Fprintf(l, start105, fmt.Sprint("b", id), "", id)
	}
	for i := range 10_000 {
		fmt.Fprintf(l, `@nix {"action":"result","fields":["phase%d"],"id":%d,"type":104}`+"\n", i, i%100)
		l.clock = l.clock.Add(time.Millisecond)
		if i%1000 == 999 {
			l.report()
		}
	}
	if n := len(l.parts); n == 0 || n > 10*tellMost {
		t.Errorf("people were told %d times in 10 s", n)
	}
	for id := range 100 {
		fmt.Fprintf(l, `@nix {"action":"stop","id":%d}`+"\n", id)
	}
	if n := len(l.parts); n > 11*tellMost {
		t.Errorf("people were told %d times in 10 s, and of the ends", n)
	}
}

// TestSizesOfACopy: where nix does not tell bytes they are asked for, once.
func TestSizesOfACopy(t *testing.T) {
	const last = "lib-1.0|copied!|1.0 MiB|2 of 2 paths, 4.0 of 4.0 MiB\n"
	sizesOfACopy(t, "", "hello-1.0|copying|3.0 MiB|0 of 2 paths, 0.0 of 4.0 MiB\n", "hello-1.0|copied!|3.0 MiB|1 of 2 paths, 3.0 of 4.0 MiB\n", last)
	sizesOfACopy(t, "-lib-1.0", "hello-1.0|copied!||1 of 2 paths\n", "lib-1.0|copying|1.0 MiB|1 of 2 paths, 3.0 of 4.0 MiB\n", last)
}

// sizesOfACopy asks when nix says something.
func sizesOfACopy(t *testing.T, askAt string, wants ...string) {
	t.Helper()
	asked := 0
	l := newListener()
	l.sizes = func([]string) map[string]int64 {
		asked++
		return map[string]int64{"/nix/store/gazmqjirn23mqln0n4pingf8zcjah6wm-hello-1.0": 3 << 20, "/nix/store/m5r9s71mmpcp9nsz8ccs8cfybay6ra8c-lib-1.0": 1 << 20}
	}
	for line := range bytes.Lines(recorded(t, "2.8")["copy"]) {
		_, _ = l.Write(line)
		l.clock = l.clock.Add(time.Second)
		if asks := askAt == "" || bytes.Contains(line, []byte(askAt)); asks || asked > 0 {
			l.askSizes()
		}
		l.report()
	}
	checkOrder(t, "told", l.told(), wants)
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// FuzzActivities: whatever nix says, in whatever pieces, nothing is lost that is
// for people and nothing is left that is for a terminal.
func FuzzActivities(f *testing.F) {
	for _, version := range []string{"2.8", "2.26", "2.34"} {
		for _, said := range recorded(f, version) {
			f.Add(said[:min(len(said), 4000)], uint8(7))
		}
	}
	f.Add([]byte("a@nix {\"action\":\"msg\"}\r\n@nix {\"action\":\"start\",\"type\":104,\"id\":1}\nb"), uint8(1))
	f.Add([]byte("\xc9\x1b["), uint8(7))
	f.Fuzz(func(t *testing.T, said []byte, size uint8) {
		whole, pieces := newListener(), newListener()
		_, _ = whole.Write(said)
		whole.clock = whole.clock.Add(time.Minute)
		whole.report()
		whole.end()
		for rest := said; len(rest) > 0; {
			n := min(len(rest), int(size)+1)
			_, _ = pieces.Write(rest[:n])
			rest = rest[n:]
		}
		pieces.end()
		if whole.log.String() != pieces.log.String() || whole.failuresText() != pieces.failuresText() {
			t.Errorf("at once\n%q\nin pieces\n%q", whole.log.String(), pieces.log.String())
		}
		if !bytes.Contains(said, messageMark) && bytes.Count(said, []byte("\n")) > strings.Count(whole.log.String(), "\n") {
			t.Errorf("%q lost lines: %q", said, whole.log.String())
		}
		if strings.Contains(whole.log.String(), "\x1b[") {
			t.Errorf("%q has signs for a terminal", whole.log.String())
		}
		for _, p := range whole.parts {
			if strings.Contains(p.Sum+p.Detail, "-") && !bytes.Contains(said, []byte("-")) || p.Took < 0 {
				t.Errorf("told %+v", p)
			}
		}
	})
}

func BenchmarkActivities(b *testing.B) {
	said := recorded(b, "2.26")["fail"]
	lines := bytes.Count(said, []byte("\n"))
	for b.Loop() {
		l := newListener()
		for range 100_000 / lines {
			_, _ = l.Write(said)
			l.log.Reset()
		}
	}
}
