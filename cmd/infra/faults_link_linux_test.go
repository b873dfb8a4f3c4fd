package main

import (
	"strings"
	"testing"
	"time"
)

// linkPlan does what counts over the link: a command, a file of some size, and
// a look at the host.
const linkPlan = `
load("fleet.star", "fleet")
vps = fleet["cinnabar"]
def f():
    ssh.run(vps, "echo done >> /root/count")
    ssh.put(vps, "/root/put", content = "x" * 2000 + "\n")
    ` + gate + `
    log("it runs " + ssh.facts(vps).kernel)
p = plan(hosts = [vps], steps = [step(f)])
`

// TestABadLink works over a link of 300 ms there and back that loses three in
// ten packets to the host, and over one that is cut for a while. Where the link
// is too bad, the run ends with an error that it can be resumed from.
func TestABadLink(t *testing.T) {
	t.Parallel()
	tr := newSystemdTrial(t, "cinnabar")
	tr.write("plans/t.star", linkPlan)
	for _, tt := range []struct {
		name  string
		delay time.Duration
		loss  float64
		cut   time.Duration
	}{
		{"cut for a while", 10 * time.Millisecond, 0, 2 * time.Second},
		{"slow, and it loses packets", 150 * time.Millisecond, 0.3, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := tr.with(t)
			tr.exec("cinnabar", "rm", "-f", "/root/count", "/root/put")
			link, err := tr.fleet.Link("cinnabar", tt.delay, tt.loss)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := link.Close(); err != nil {
					t.Error(err)
				}
			}()
			began := time.Now()
			said := tr.atGate(func() {
				link.Cut()
				time.AfterFunc(tt.cut, link.Mend)
			})
			t.Logf("%s", time.Since(began))
			for n := 0; said.code != exitOK && n < 3; n++ {
				t.Logf("it ended with %d, and is resumed:\n%s", said.code, said.stderr)
				said = tr.infra("resume")
			}
			said.want(t, exitOK, "it runs Linux")
			if got := tr.exec("cinnabar", "sh", "-c", "cat /root/count; wc -c </root/put"); strings.Join(strings.Fields(got), " ") != "done 2001" {
				t.Errorf("the host has %q", got)
			}
			t.Logf("%s", time.Since(began))
		})
	}
}
