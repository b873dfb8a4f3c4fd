package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A network is a namespace in which hosts are, and the way there. Hosts at addresses of
// this machine would be the machine that infra runs on, which it treats as no other: it
// asks each of them, and changes one after another.
type network struct {
	namespace string
	prefix    string // of the hosts' addresses: 198.19
	end       func() // takes the way there away
}

// layNetwork makes a network in which every address of prefix.0.0/17 is a host's, a
// delay away each way.
func layNetwork(ctx context.Context, dir, prefix string, delay time.Duration) (*network, error) {
	n := &network{namespace: fmt.Sprintf("infra-bench-%d", os.Getpid()), prefix: prefix}
	if err := ip(ctx, "netns add "+n.namespace); err != nil {
		return nil, err
	}
	n.end = func() {}
	lay := n.layCable
	if delay > 0 {
		lay = func(ctx context.Context) error { return n.layWire(ctx, dir, delay) }
	}
	err := lay(ctx)
	if err == nil {
		err = ip(ctx,
			"-n "+n.namespace+" link set lo up",
			"-n "+n.namespace+" route add local "+prefix+".0.0/17 dev lo")
	}
	if err != nil {
		n.remove()
		return nil, err
	}
	return n, nil
}

// remove takes the network away; the hosts must have ended.
func (n *network) remove() {
	n.end()
	_ = ip(context.Background(), "netns delete "+n.namespace)
}

// layCable connects the namespace by a pair of devices.
func (n *network) layCable(ctx context.Context) error {
	near, far := fmt.Sprintf("ib%da", os.Getpid()), fmt.Sprintf("ib%db", os.Getpid())
	here, there := n.prefix+".255.1", n.prefix+".255.2"
	n.end = func() { _ = ip(context.Background(), "link delete "+near) } // a process that is left would keep it
	return ip(ctx,
		"link add "+near+" type veth peer name "+far+" netns "+n.namespace,
		"address add "+here+"/32 peer "+there+" dev "+near,
		"-n "+n.namespace+" address add "+there+"/32 peer "+here+" dev "+far,
		"link set "+near+" up",
		"-n "+n.namespace+" link set "+far+" up",
		"route add "+n.prefix+".0.0/17 via "+there+" src "+here)
}

// layWire connects it by the program wire, which carries each packet that much later.
func (n *network) layWire(ctx context.Context, dir string, delay time.Duration) error {
	wire := exec.CommandContext(ctx, filepath.Join(dir, "wire"), n.namespace, n.prefix+".255.1/16", n.prefix+".255.2/16", delay.String())
	wire.Stderr = os.Stderr
	in, err := wire.StdinPipe()
	if err != nil {
		return err
	}
	said, err := wire.StdoutPipe()
	if err != nil {
		return err
	}
	if err := wire.Start(); err != nil {
		return err
	}
	n.end = func() {
		in.Close()
		_ = wire.Wait()
	}
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		return fmt.Errorf("the wire does not come up: %w", err)
	}
	return nil
}

// ip runs ip, of iproute2.
func ip(ctx context.Context, lines ...string) error {
	for _, line := range lines {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w\n%s", line, err, out)
		}
	}
	return nil
}
