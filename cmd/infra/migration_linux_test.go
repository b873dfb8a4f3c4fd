package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"infra/examples/lab/fleet"
	"infra/examples/lab/tools"
)

// A calendar is a trial in which weeks go by between two commands.
type calendar struct {
	*trial
	program string
	now     time.Time
	seen    time.Time // when somebody looked last
	phases  []string  // that are looked at
	rounds  int
	took    time.Duration // all rounds
}

// dayOne is a Monday, at nine.
var dayOne = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// newCalendar is the fleet of before the migration: there is no server yet, and
// argentum runs a system of the setup that was.
func newCalendar(t *testing.T) *calendar {
	t.Helper()
	if err := tools.Install(t.Context(), os.Stderr, "../..", tools.Terraform, tools.Provider); err != nil {
		t.Fatalf("go run ./examples/lab test sets it up: %v", err)
	}
	tr := onFleet(t, fleet.Options{Cloud: []string{"cinnabar"}}).withClan()
	c := &calendar{trial: tr, program: quick(t, "infra-stepped"), now: dayOne, seen: dayOne}
	before := filepath.Join(tr.fleet.Project(), "before.star")
	tr.write("before.star", `
load("plans/fleet.star", "fleet")
mac = fleet["argentum"]
def switch(): nix.switch(mac, nix.build(".#darwinConfigurations.argentum.system"))
before = plan(hosts = [mac], steps = [step(switch)])
`)
	err := tr.fleet.SetGeneration(t.Context(), 2)
	if err == nil {
		tr.plan(before).want(t, exitOK)
		err = os.Remove(before)
	}
	if err == nil {
		err = os.RemoveAll(filepath.Join(tr.fleet.Project(), ".infra")) // the record begins with the migration
	}
	if err == nil {
		err = tr.fleet.SetGeneration(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// on is a day of the calendar, at nine.
func on(day int) time.Time { return dayOne.AddDate(0, 0, day) }

// infra runs the program at the calendar's time.
func (c *calendar) infra(args ...string) ran {
	c.Helper()
	return c.runs(exec.CommandContext(c.Context(), c.program, args...), append(append(os.Environ(), c.fleet.Env()...), "INFRA_STEPPED="+c.now.Format(time.RFC3339Nano)))
}

// run runs a phase.
func (c *calendar) run(phase string, args ...string) ran {
	c.Helper()
	began := time.Now()
	r := c.infra(append([]string{"run", "--ssh-config", c.fleet.SSHConfig(), "plans/" + phase + ".star"}, args...)...)
	c.Logf("%s: infra run %s ends with %d in %s", c.now.Format(time.DateOnly), phase, r.code, time.Since(began).Round(time.Millisecond))
	return r
}

// looks has somebody look at all that was migrated.
func (c *calendar) looks(code int, texts ...string) {
	c.Helper()
	began := time.Now()
	r := c.infra(append([]string{"verify", "--pause", "1ms", "--ssh-config", c.fleet.SSHConfig()}, c.phases...)...)
	c.rounds, c.took, c.seen = c.rounds+1, c.took+time.Since(began), c.now
	r.want(c.T, code, texts...)
}

// until lets days go by, on which somebody looks about as seldom as the gates allow:
// that is every 36 hours.
func (c *calendar) until(to time.Time) {
	c.Helper()
	const apart = 35 * time.Hour
	for ; len(c.phases) > 0 && to.Sub(c.seen) > apart; c.looks(exitOK) {
		c.now = c.seen.Add(apart)
	}
	if c.now = to; len(c.phases) == 0 {
		c.seen = to
	}
}

// held wants that a phase cannot begin now, and nothing else.
func (c *calendar) held(phase string, texts ...string) ran {
	c.Helper()
	r := c.run(phase)
	r.want(c.T, exitHeld, append(texts, phase+" is held back, and nothing was done")...)
	return r
}

// opening is when the only gate that holds a phase back opens, as infra says.
func (c *calendar) opening(phase string, texts ...string) time.Time {
	c.Helper()
	said := regexp.MustCompile(`it can open at (\S+ \S+) UTC`).FindAllStringSubmatch(c.held(phase, texts...).stderr, -1)
	if len(said) != 1 {
		c.Fatalf("it says %q", said)
	}
	at, err := time.Parse("2006-01-02 15:04", said[0][1])
	if err != nil {
		c.Fatal(err)
	}
	return at
}

// opens wants a phase to be held back a minute before the time, and not then, or within
// the time that nobody knows exactly.
func (c *calendar) opens(phase string, at time.Time, within time.Duration, texts ...string) {
	c.Helper()
	c.until(at.Add(-time.Minute))
	if got := c.opening(phase, texts...); !got.Equal(at.Truncate(time.Minute)) {
		c.Errorf("%s: %s can begin at %s, and it says %s", c.now, phase, at, got)
	}
	c.are(phase + " waiting")
	c.now = at.Add(within)
	c.are(phase + " ready")
}

// migrates runs a phase for the first time, or again.
func (c *calendar) migrates(phase string, args ...string) {
	c.Helper()
	c.run(phase, args...).want(c.T, exitOK)
	c.phases = append(c.phases, phase)
}

// status is what infra status says, by phase.
func (c *calendar) status() map[string]jsonPhase {
	c.Helper()
	r := c.infra("status", "--json")
	var doc jsonStatus
	if err := json.Unmarshal([]byte(r.stdout), &doc); err != nil || r.code != exitOK {
		c.Fatalf("%v\n%s%s", err, r.stdout, r.stderr)
	}
	phases := map[string]jsonPhase{}
	for _, p := range doc.Phases {
		phases[p.Plan] = p
	}
	return phases
}

// are wants these phases to be in these states.
func (c *calendar) are(states ...string) map[string]jsonPhase {
	c.Helper()
	phases := c.status()
	for _, want := range states {
		name, state, _ := strings.Cut(want, " ")
		if got := phases[name]; string(got.State) != state {
			c.Errorf("%s: %s is %s, want %s (%s)", c.now, name, got.State, state, got.Why)
		}
	}
	return phases
}

// TestMigration is the whole of it: seven phases, five machines and thirteen weeks.
func TestMigration(t *testing.T) {
	t.Parallel()
	c := newCalendar(t)
	for _, part := range []struct {
		name string
		goes func(*calendar)
	}{
		{"phase 0 is no go, and then for a person to say", aPersonsWord},
		{"the server soaks for a week", serverSoaks},
		{"a check fails on the sixth day of seven", sixthDay},
		{"a gate is passed, and argentum goes back", passedAndBack},
		{"stibnite waits for weeks over the others", stibniteWaits},
		{"cleanup comes last", cleanupLast},
		{"the page tells of it", pageTells},
	} {
		ok := t.Run(part.name, func(t *testing.T) {
			c.trial = c.with(t)
			part.goes(c)
		})
		if !ok {
			t.Fatal("what comes after it would be wrong, too")
		}
	}
	t.Logf("%d rounds in %s", c.rounds, c.took)
}

// aPersonsWord is phase 0: what is required fails, and then only what is not.
func aPersonsWord(c *calendar) {
	const patterns = "docs/patterns.md"
	text, err := os.ReadFile(filepath.Join(c.fleet.Project(), patterns))
	if err == nil {
		err = os.Remove(filepath.Join(c.fleet.Project(), patterns))
	}
	if err != nil {
		c.Fatal(err)
	}
	c.run("validation").want(c.T, exitFailed, "check patterns documented | failed")
	c.are("validation failed", "cinnabar waiting")
	c.now = on(1)
	c.held("cinnabar", `go("validation"): NO-GO: patterns documented failed`)
	c.decide("validation", "no-go", "nobody could take over from here")

	c.write(patterns, string(text))
	c.now = on(17)
	c.run("validation").want(c.T, exitOK, "check every var is there | warned")
	c.held("cinnabar", "decided no-go: nobody could take over from here")
	c.now = on(18)
	c.decide("validation", "go", "the vars that lack are made with their machines")
	c.are("cinnabar ready", "blackphos waiting")
}

func (c *calendar) decide(of, word, because string) {
	c.Helper()
	c.infra("decide", of, word, "--because", because, "--yes").want(c.T, exitOK)
}

// since is when a phase began to be well, in whole seconds.
func (c *calendar) since(phase string) time.Time {
	c.Helper()
	p := c.are(phase + " soaking")[phase]
	if p.Soak == nil {
		c.Fatalf("%s: %s does not soak", c.now, phase)
	}
	at, err := time.Parse(time.RFC3339Nano, p.Soak.Since)
	if err != nil {
		c.Fatal(err)
	}
	return at
}

const week = 7 * day

// serverSoaks makes the server, and begins the first Mac when that was well for a week:
// not in the minute before.
func serverSoaks(c *calendar) {
	c.until(on(34))
	c.migrates("cinnabar", "--destroy", "cinnabar", "--did", "passphrase")
	c.until(on(35))
	since := c.since("cinnabar")
	if since.Before(on(34)) || since.After(on(34).Add(patience)) {
		c.Errorf("it is well since %s", since)
	}
	c.until(on(37))
	c.held("blackphos", "well for 2d ")
	c.opens("blackphos", since.Add(week), time.Second, "of 7d, since run ")
	c.migrates("blackphos")
}

// sixthDay has zerotier fail on blackphos when it was well for six days of seven.
func sixthDay(c *calendar) {
	const plist = "/Library/LaunchDaemons/com.zerotier.one.plist"
	c.until(on(47))
	c.held("rosegold", "well for 5d 23h ")
	c.exec("blackphos", "mv", plist, "/root")
	c.looks(exitFailed, "zerotier-one is not running")
	c.are("blackphos degraded", "cinnabar soaking")
	c.held("rosegold", "a required check fails, at 2026-02-21 09:00 UTC at last", "so no time of 7d has begun")
	c.exec("blackphos", "mv", "/root/com.zerotier.one.plist", plist)
	c.now = on(48)
	c.looks(exitOK)
	c.now = on(48).Add(time.Hour) // a week after it was run
	c.held("rosegold", "well for 1h of 7d")
	c.opens("rosegold", on(55), 0, "well for 6d 23h of 7d, since 2026-02-22 09:00 UTC: a required check failed at 2026-02-21 09:00 UTC")
	c.migrates("rosegold")
}

// passedAndBack migrates argentum too early, which is for good on the record, and
// takes it back by hand.
func passedAndBack(c *calendar) {
	c.until(on(60))
	c.held("argentum", "well for 4d 23h of 7d")
	c.run("argentum", "--override", "stable:rosegold").want(c.T, exitUsage, "a gate is not passed without a reason")
	c.migrates("argentum", "--override", "stable:rosegold", "--because", "its owner travels from Friday on")
	now := c.exec("argentum", "readlink", "-f", "/run/current-system")
	if o := c.status()["argentum"].Overrides; len(o) != 1 || o[0].Gate != "stable:rosegold" || o[0].Because != "its owner travels from Friday on" || !o[0].InForce {
		c.Errorf("the overrides are %+v", o)
	}

	c.until(on(63))
	c.infra("rollback", "argentum", "--yes", "--ssh-config", c.fleet.SSHConfig()).want(c.T, exitOK, "argentum goes from generation 2 to 1")
	c.phases = slices.DeleteFunc(c.phases, func(phase string) bool { return phase == "argentum" })
	if c.exec("argentum", "readlink", "-f", "/run/current-system") == now {
		c.Error("argentum runs what it ran")
	}
	c.now = c.now.Add(time.Hour)
	if c.are("argentum rolled back", "rosegold soaking", "stibnite waiting")["argentum"].Undone == nil {
		c.Error("infra status does not say what took it back")
	}
	c.held("stibnite", `stable("argentum", "7d"): argentum was taken back to an earlier generation by run `)

	c.until(on(65))
	c.migrates("argentum")
	if c.exec("argentum", "readlink", "-f", "/run/current-system") != now {
		c.Error("argentum does not run what it ran")
	}
	c.until(on(66))
	if since := c.since("argentum"); since.Before(on(65)) {
		c.Errorf("argentum is well since %s", since)
	}
}

// stibniteWaits: until the last of the others was well for long enough, and then for a
// person.
func stibniteWaits(c *calendar) {
	c.until(on(75))
	r := c.held("stibnite", `stable("blackphos", "28d"): well for 27d of 28d`)
	for _, open := range []string{"cinnabar", "rosegold", "argentum"} {
		if strings.Contains(r.stderr, "stable(\""+open) {
			c.Errorf("%s holds it back, too:\n%s", open, r.stderr)
		}
	}
	c.now = on(75).Add(time.Hour)
	c.decide("stibnite-window", "no-go", "a release in these weeks")
	c.until(on(76).Add(-time.Minute))
	c.held("stibnite", `stable("blackphos", "28d"): well for 27d 23h of 28d`, "; it can open at 2026-03-22 09:00 UTC", `approved("stibnite-window")`)
	c.now = on(76)
	if r := c.held("stibnite", `approved("stibnite-window"): `, "decided no-go: a release in these weeks"); strings.Contains(r.stderr, "stable(") {
		c.Errorf("it is held back by more:\n%s", r.stderr)
	}
	c.are("cinnabar stable", "blackphos stable", "rosegold stable", "argentum stable", "stibnite waiting")
	c.until(on(82))
	c.decide("stibnite-window", "go", "released; nobody needs it this week")
	c.until(on(83))
	c.are("stibnite ready")
	c.migrates("stibnite", "--did", "told", "--did", "tried")
}

// cleanupLast: a week after stibnite, and when a person says that days are as good as before.
func cleanupLast(c *calendar) {
	c.until(on(84))
	since := c.since("stibnite")
	c.decide("daily-work", "go", "no slower, and fewer surprises")
	c.opens("cleanup", since.Add(week), time.Second, `stable("stibnite", "7d")`)
	c.until(on(91))
	c.migrates("cleanup", "--did", "look_back")
	c.now = c.now.Add(time.Hour)
	c.are("validation degraded", "cinnabar stable", "blackphos stable", "rosegold stable", "argentum stable", "stibnite stable", "cleanup done")
	c.infra("log", "--verify").want(c.T, exitOK)
}

// pageTells: the page of that run, which is kept as an example.
func pageTells(c *calendar) {
	const kept = "../../examples/report/migration.html"
	r := c.infra("report", "--html", "-")
	r.want(c.T, exitOK)
	for _, want := range []string{"its owner travels from Friday on", "stable:rosegold", `data-kind="rollback"`, "nobody could take over from here",
		"the vars that lack are made with their machines", "zerotier-one is not running"} {
		if !strings.Contains(r.stdout, want) {
			c.Errorf("the page does not say %q", want)
		}
	}
	c.tokenless(r.stdout)
	if os.Getenv("UPDATE") != "" {
		if err := replaceFile(kept, []byte(r.stdout)); err != nil {
			c.Fatal(err)
		}
	}
	text, err := os.ReadFile(kept)
	if err != nil {
		c.Fatal(err)
	}
	if got, want := lanesOf(r.stdout), lanesOf(string(text)); got != want {
		c.Errorf("UPDATE=1 makes %s anew. The page has\n%s\nand the one that is kept\n%s", kept, got, want)
	}
}

// lanesOf is what a page has that is the same in each such migration.
func lanesOf(page string) string {
	var lanes []string
	for _, m := range regexp.MustCompile(`data-phase="([^"]+)"|data-kind="([^"]+)"|class="pill [a-z]+">([^<]+)<`).FindAllStringSubmatch(page, -1) {
		if m[1] != "" {
			lanes = append(lanes, "\n"+m[1]+":")
		}
		lanes = append(lanes, m[2]+m[3])
	}
	return strings.Join(lanes, " ")
}
