package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	putHosts = 10
	putSize  = 64 << 20
	// putRate is how much of the rate of scp infra must have at least.
	putRate = 0.8
)

const putPlan = `
hosts = [host("h%%d" %% i, system = "x86_64-linux", ssh = a) for i, a in enumerate("%s".split(","))]
def act(host):
    ssh.put(host, "%s/homes/" + host.name[1:] + "/big", source = "big")
work = plan(hosts = hosts, steps = [step(act, each = hosts)])
`

// benchPut measures a large file on its way to several hosts at once, beside scp.
func benchPut(ctx context.Context, out io.Writer, dir string) error {
	h, err := startHosts(ctx, dir, "198.19", 0, putHosts)
	if err != nil {
		return err
	}
	defer h.stop()
	content := make([]byte, putSize)
	if _, err := rand.Read(content); err != nil {
		return err
	}
	var targets strings.Builder
	for i, a := range h.addresses {
		fmt.Fprintf(&targets, "%s:%s/big\n", a, h.home(i))
	}
	for name, text := range map[string][]byte{
		"big": content, "targets": []byte(targets.String()),
		"put.star": fmt.Appendf(nil, putPlan, strings.Join(h.addresses, ","), h.dir),
	} {
		if err := os.WriteFile(filepath.Join(h.dir, name), text, 0o644); err != nil {
			return err
		}
	}
	infra, scp := toolInfra, tool{name: "scp", pkg: "openssh-client", argv: func(work) []string {
		return []string{"xargs", "-a", "targets", "-P", strconv.Itoa(atOnce), "-I{}", "scp", "-q", "-F", "ssh_config", "big", "{}"}
	}}
	infra.argv = func(w work) []string {
		return []string{w.program("infra"), "run", "--ssh-config", "ssh_config", "put.star"}
	}
	c := contest{title: "a file of 64 MiB to 10 hosts at once", work: work{on: h}, rounds: 5, tools: []tool{infra, scp},
		check: func() error { return h.got("big", content) }}
	scores, err := c.hold(ctx)
	if err != nil {
		return err
	}
	c.print(out, scores)
	rate := ratio(scoreOf(scores, scp), scoreOf(scores, infra), wallOf)
	fmt.Fprintf(out, "\ninfra sends at %.2f times the rate of scp\n", rate)
	if rate < putRate {
		return fmt.Errorf("64 MiB to 10 hosts went at %.2f times the rate of scp, and should at no less than %.1f", rate, putRate)
	}
	return nil
}

// got checks that every host has the file, and removes it.
func (h *hosts) got(name string, want []byte) error {
	for i, a := range h.addresses {
		path := filepath.Join(h.home(i), name)
		have, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(have, want) {
			return fmt.Errorf("%s has another file than was sent", a)
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
