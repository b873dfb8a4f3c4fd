package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

const (
	wireHosts = 10
	// wireDelay is that of one way: a round trip takes 50 ms.
	wireDelay = 25 * time.Millisecond
	// wireRatio is how many times as long as ssh with all commands in one session infra may take.
	wireRatio = 1.1
)

// benchWire measures five commands that need no answer over a long way.
func benchWire(ctx context.Context, out io.Writer, dir string) error {
	h, err := startHosts(ctx, dir, "198.18", wireDelay, wireHosts)
	if err != nil {
		return err
	}
	defer h.stop()
	c := contest{title: "10 hosts at a round trip of 50 ms, five commands", work: work{h, commandsOf(5)}, rounds: 5, few: 2, tools: []tool{
		toolBareJoined, toolBare, toolInfra, toolSSHJoined, toolSSH, toolMasterCold, toolMasterWarm, toolParallel, toolClush, toolFabric,
		toolRawCold, toolRawWarm}}
	scores, err := c.hold(ctx)
	if err != nil {
		return err
	}
	c.print(out, scores)
	ours := scoreOf(scores, toolInfra)
	bare, one := ratio(ours, scoreOf(scores, toolBareJoined), wallOf), ratio(ours, scoreOf(scores, toolSSHJoined), wallOf)
	fmt.Fprintf(out, "\ninfra takes %.2f times as long as one session of ssh, and %.2f times as long as one of the bare client\n", one, bare)
	if one > wireRatio {
		return fmt.Errorf("five commands at 50 ms took %.2f times as long as one ssh session, and should stay under %.1f", one, wireRatio)
	}
	return nil
}
