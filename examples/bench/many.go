package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

const (
	manyPeers = 500
	// fewHosts is what the many are compared with, in the same rounds.
	fewHosts = 50
	// manyMemory is what a run of 500 hosts may take.
	manyMemory = 100 << 20
)

// benchMany measures one command on each of 500 hosts, beside those peers that can in
// reasonable time, and infra on 50 of the same hosts.
func benchMany(ctx context.Context, out io.Writer, dir string) error {
	h, err := startHosts(ctx, dir, "198.19", 0, manyPeers)
	if err != nil {
		return err
	}
	defer h.stop()
	peers := []tool{toolSSHJoined, toolParallel, toolClush, toolFabric, toolRawCold}
	for i := range peers {
		peers[i].slow = true
	}
	c := contest{title: "500 hosts, one command", work: work{h, commandsOf(1)}, rounds: 3, few: 1, tools: append([]tool{toolBare, toolInfra}, peers...)}
	scores, err := c.hold(ctx)
	if err != nil {
		return err
	}
	c.print(out, scores)
	few := *h
	few.addresses = h.addresses[:fewHosts]
	small, err := contest{title: "50 hosts", work: work{&few, commandsOf(1)}, rounds: 5, tools: []tool{toolInfra}}.hold(ctx)
	if err != nil {
		return err
	}
	return manyLimits(out, scoreOf(scores, toolInfra), scoreOf(small, toolInfra))
}

func manyLimits(out io.Writer, many, few score) error {
	wall, cpu := many.wall.Seconds()/few.wall.Seconds(), many.cpu.Seconds()/few.cpu.Seconds()
	fmt.Fprintf(out, "\n500 hosts take infra %.1f times as long as 50, and %.1f times the CPU; its process has %d MiB\n", wall, cpu, many.own>>20)
	var missed []error
	if wall > linear {
		missed = append(missed, fmt.Errorf("500 hosts took %.1f times as long as 50, and should stay under %.1f", wall, linear))
	}
	if cpu > linear {
		missed = append(missed, fmt.Errorf("500 hosts took %.1f times the CPU of 50, and should stay under %.1f", cpu, linear))
	}
	if max(many.own, many.memory) > manyMemory {
		missed = append(missed, fmt.Errorf("500 hosts took %d MiB, and should stay under %d MiB", max(many.own, many.memory)>>20, manyMemory>>20))
	}
	return errors.Join(missed...)
}
