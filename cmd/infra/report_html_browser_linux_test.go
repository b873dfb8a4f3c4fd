package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A browser is a Chromium that a test drives, by the protocol of WebDriver.
type browser struct {
	t    *testing.T
	base string // of the session
}

// newBrowser starts one that asks for nothing of its own accord.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	dir, err := os.MkdirTemp("", "infra-browser-") // not the test's: a browser may write when it ends
	if err != nil {
		t.Fatal(err)
	}
	driver := exec.Command("chromedriver", "--port=0")
	driver.Dir = dir
	said, err := driver.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := driver.Start(); err != nil {
		t.Fatalf("%v: the packages chromium and chromium-driver have it; go run ./examples/lab test installs them", err)
	}
	t.Cleanup(func() {
		_ = driver.Process.Kill()
		_ = driver.Wait()
		_ = os.RemoveAll(dir)
	})
	b := &browser{t: t, base: "http://127.0.0.1:" + portOf(t, bufio.NewScanner(said))}
	flags := []string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-dev-shm-usage", "--user-data-dir=" + filepath.Join(dir, "profile")}
	var session struct{ SessionID string }
	b.call("POST", "/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"goog:chromeOptions": map[string]any{"args": flags, "perfLoggingPrefs": map[string]any{"enableNetwork": true}},
		"goog:loggingPrefs":  map[string]string{"browser": "ALL", "performance": "ALL"},
	}}}, &session)
	b.base += "/session/" + session.SessionID
	t.Cleanup(func() { b.call("DELETE", "", nil, nil) }) // before the driver ends, and with it nobody who ends the browser
	return b
}

// portOf is where a driver that has just been started says that it listens.
func portOf(t *testing.T, lines *bufio.Scanner) string {
	t.Helper()
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
		if _, port, ok := strings.Cut(lines.Text(), "started successfully on port "); ok {
			go func() {
				for lines.Scan() { // what it says later has to go somewhere
				}
			}()
			return strings.TrimRight(port, ".")
		}
	}
	t.Fatalf("chromedriver does not listen: %s", strings.Join(said, "\n"))
	return ""
}

// call asks the driver, and reads the value of its answer.
func (b *browser) call(method, path string, body, value any) {
	b.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		b.t.Fatal(err)
	}
	if body == nil {
		data = nil
	}
	req, err := http.NewRequest(method, b.base+path, bytes.NewReader(data))
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer := struct{ Value json.RawMessage }{}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s: %s: %s (%v)", method, path, resp.Status, answer.Value, err)
	}
	if value != nil {
		if err := json.Unmarshal(answer.Value, value); err != nil {
			b.t.Fatalf("%s %s: %s: %v", method, path, answer.Value, err)
		}
	}
}

// open shows a page in a window of that width.
func (b *browser) open(url string, width int, scheme string) {
	b.t.Helper()
	b.cdp("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false})
	b.cdp("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
	b.call("POST", "/url", map[string]string{"url": url}, nil)
}

func (b *browser) cdp(command string, params map[string]any) {
	b.t.Helper()
	b.call("POST", "/goog/cdp/execute", map[string]any{"cmd": command, "params": params}, nil)
}

// ask is what an expression is in the page.
func (b *browser) ask(expression string, value any) {
	b.t.Helper()
	b.call("POST", "/execute/sync", map[string]any{"script": "return " + expression, "args": []any{}}, value)
}

// said is what the browser has logged of a kind since it was asked last.
func (b *browser) said(kind string) (messages []string) {
	b.t.Helper()
	var entries []struct{ Message string }
	b.call("POST", "/se/log", map[string]string{"type": kind}, &entries)
	for _, e := range entries {
		messages = append(messages, e.Message)
	}
	return messages
}

// A drawn is an element of the page: where it is, and of which kind.
type drawn struct {
	Kind                     string
	Left, Right, Top, Bottom float64
}

// drawnOf are the elements that a selector names within each lane, by its phase.
func (b *browser) drawnOf(selector string) map[string][]drawn {
	b.t.Helper()
	all := map[string][]drawn{}
	b.ask(fmt.Sprintf(`Object.fromEntries([...document.querySelectorAll(".lane[data-phase]")].map(l => [l.dataset.phase, [...l.querySelectorAll(%q)].map(e => {
		const r = e.getBoundingClientRect(); return {Kind: e.dataset.kind || e.textContent, Left: r.left, Right: r.right, Top: r.top + scrollY, Bottom: r.bottom + scrollY}})]))`, selector), &all)
	return all
}

// TestReportInABrowser shows the page of a migration as a person gets it: at the width of
// a desk and of a telephone, on paper white and at night.
func TestReportInABrowser(t *testing.T) {
	s := migration(t)
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(s.page(70.5)), 0o644); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	for _, tt := range []struct {
		width  int
		scheme string
	}{{1280, "light"}, {1280, "dark"}, {400, "light"}} {
		b.open("file://"+file, tt.width, tt.scheme)
		b.fits(tt.width)
		b.tells(tt.width)
	}
	b.leads()
	for _, m := range b.said("browser") {
		t.Errorf("the console says %s", m)
	}
	asked := b.asked("file://" + file)
	if len(asked) == 0 {
		t.Error("the browser does not tell that it asked for the page itself")
	}
	for _, url := range asked {
		if !strings.HasPrefix(url, "file://"+file) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page asks for %s", url)
		}
	}
}

// asked is what the browser asked for because of a page, that among it.
func (b *browser) asked(page string) (urls []string) {
	b.t.Helper()
	for _, m := range b.said("performance") {
		var e struct {
			Message struct {
				Method string
				Params struct {
					DocumentURL string
					Request     struct{ URL string }
				}
			}
		}
		if err := json.Unmarshal([]byte(m), &e); err != nil {
			b.t.Fatal(err)
		}
		if p := e.Message.Params; e.Message.Method == "Network.requestWillBeSent" && strings.HasPrefix(p.DocumentURL, page) {
			urls = append(urls, p.Request.URL)
		}
	}
	return urls
}

// fits fails where something of the page is beside it, or not to be read.
func (b *browser) fits(width int) {
	b.t.Helper()
	var at struct {
		Inner, Scroll, Scripts, Loads float64
		Paper, Ink                    string
	}
	b.ask(`({Inner: innerWidth, Scroll: document.documentElement.scrollWidth, Scripts: document.scripts.length,
		Loads: performance.getEntriesByType("resource").length, Paper: getComputedStyle(document.body).backgroundColor, Ink: getComputedStyle(document.body).color})`, &at)
	if at.Inner != float64(width) || at.Scroll > at.Inner {
		b.t.Errorf("at %d pixels the page is %v wide in a window of %v", width, at.Scroll, at.Inner)
	}
	if at.Scripts > 0 || at.Loads > 0 || at.Paper == at.Ink {
		b.t.Errorf("%v scripts, %v loads, %s on %s", at.Scripts, at.Loads, at.Ink, at.Paper)
	}
	for phase, list := range b.drawnOf(":scope > svg, .mark > *, .band, .who") {
		for _, d := range list {
			if d.Left < 0 || d.Right > at.Inner || d.Right <= d.Left || d.Bottom <= d.Top {
				b.t.Errorf("at %d pixels %s has something at %+v", width, phase, d)
			}
		}
	}
}

// tells fails where the lanes are not what happened.
func (b *browser) tells(width int) {
	b.t.Helper()
	lanes, marks, bands := b.drawnOf(":scope > svg"), b.drawnOf(".mark"), b.drawnOf(".band")
	last := 0.0
	for _, phase := range []string{"validation", "cinnabar", "blackphos", "rosegold", "argentum", "stibnite", "cleanup", "others"} {
		if len(lanes[phase]) != 1 || lanes[phase][0].Top < last {
			b.t.Fatalf("at %d pixels the lane of %s is %+v, below %v", width, phase, lanes[phase], last)
		}
		last = lanes[phase][0].Bottom
	}
	if got := kinds(marks["argentum"]) + ";" + kinds(bands["argentum"]); got != "ok rollback ok;soak soak ahead" {
		b.t.Errorf("argentum: %s", got)
	}
	if got := kinds(marks["validation"]); got != "failed ok nogo go" {
		b.t.Errorf("validation: %s", got)
	}
	c := bands["cinnabar"]
	if got := kinds(c); got != "soak ill soak partly stable" {
		b.t.Fatalf("cinnabar: %s", got)
	}
	for i := range c[1:] { // they follow one another
		if c[i+1].Left < c[i].Left || c[i].Right > c[i+1].Left+1 {
			b.t.Errorf("at %d pixels band %d of cinnabar is at %+v, the next at %+v", width, i, c[i], c[i+1])
		}
	}
	// Seven days of soak are as wide as they are long, beside four weeks in all.
	if week, rest := c[2].Right-c[2].Left, c[3].Right-c[3].Left; rest < 2.9*week || rest > 3.1*week {
		b.t.Errorf("at %d pixels a week is %v wide and three are %v", width, week, rest)
	}
	var text string
	b.ask(`document.body.innerText`, &text)
	for _, want := range []string{"Rosa travels on Friday", "slow backups are known, see ticket 112", "Ann Archer <ann@example.org>", "it can open at 2026-03-26 11:31 UTC",
		"3 of 5 peers answer", "nobody looked for 5d", "Head of the journal's chain"} {
		if !strings.Contains(text, want) {
			b.t.Errorf("at %d pixels nobody can read %q", width, want)
		}
	}
}

func kinds(list []drawn) string {
	var all []string
	for _, d := range list {
		all = append(all, d.Kind)
	}
	return strings.Join(all, " ")
}

// leads follows each link of the page, and that of a run to what happened in it, which
// is folded up until then.
func (b *browser) leads() {
	b.t.Helper()
	var lost []string
	b.ask(`[...document.querySelectorAll("a")].map(a => a.getAttribute("href")).filter(h => !h.startsWith("#") || !document.getElementById(h.slice(1)))`, &lost)
	if len(lost) > 0 {
		b.t.Errorf("links that lead nowhere: %v", lost)
	}
	var before, after float64
	const height = `document.querySelector("details:has(.inner .bad)").getBoundingClientRect().height`
	b.ask(height, &before)
	b.call("POST", "/execute/sync", map[string]any{"script": `location.hash = document.querySelector("details .inner:has(.bad)").id`, "args": []any{}}, nil)
	b.ask(height, &after)
	if after < before+50 {
		b.t.Errorf("a run is %v high, and once a link leads there %v", before, after)
	}
}
