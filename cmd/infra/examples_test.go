package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestEveryExampleRuns runs the example of every builtin: those that declare
// are a plan file together, those that act are steps of a plan on the fleet,
// one after the other.
func TestEveryExampleRuns(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "cinnabar", "blackphos").withClan()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
	}))
	defer server.Close()

	var declares, acts, steps strings.Builder
	before := ""
	for i, s := range specs() {
		example := strings.ReplaceAll(strings.TrimSpace(s.Example), "http://127.0.0.1:9", server.URL)
		if s.AllowedAt(false) != nil {
			declares.WriteString(example + "\n")
			continue
		}
		name := fmt.Sprintf("example_%d", i)
		fmt.Fprintf(&acts, "def %s(%s):\n    log(\"begin %s\")\n    %s\n    log(\"end %s\")\n",
			name, before, s.Name, strings.ReplaceAll(example, "\n", "\n    "), s.Name)
		fmt.Fprintf(&steps, "    step(%s, needs = [%s]),\n", name, before)
		before = name
	}
	tr.write("plans/declares.star", declares.String())
	tr.plan("plans/declares.star").want(t, 0, "greet | hello")

	tr.write("plans/acts.star", "load(\"fleet.star\", \"fleet\")\nmac = fleet[\"blackphos\"]\nvps = fleet[\"cinnabar\"]\n"+
		acts.String()+"acts = plan(hosts = [mac, vps], steps = [\n"+steps.String()+"])\n")
	r := tr.infra("HCLOUD_TOKEN=example-token", "run", "--ssh-config", tr.fleet.SSHConfig(), "plans/acts.star")
	r.want(t, 0)
	for _, s := range specs() {
		if s.AllowedAt(false) == nil && !strings.Contains(r.stderr, "end "+s.Name) {
			t.Errorf("the example of %s did not run to its end", s.Name)
		}
	}
}

// TestTheReadmesPlanRuns runs the first plan of the README as it stands there,
// but for the host's address.
func TestTheReadmesPlanRuns(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```python\n")
	plan, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("the README has no plan")
	}
	tr := newTrial(t, "cinnabar")
	tr.write("plans/hello.star", strings.ReplaceAll(plan, "root@vps.example.org", "root@cinnabar"))
	tr.plan("plans/hello.star").want(t, 0, "check note is there | ok", "1 change")
	tr.plan("plans/hello.star").want(t, 0, "no change")
}
