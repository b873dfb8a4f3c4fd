package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

const (
	fleetHosts  = 50
	fleetRounds = 5
	fleetFew    = 2
	// beside the client that does nothing but the work
	fleetWall = 1.2
	fleetCPU  = 1.5
)

// benchFleet measures one command and five on each of 50 hosts, beside the peers.
func benchFleet(ctx context.Context, out io.Writer, dir string) error {
	h, err := startHosts(ctx, dir, "198.19", 0, fleetHosts)
	if err != nil {
		return err
	}
	defer h.stop()
	var missed []error
	for _, c := range []contest{
		{title: "50 hosts, one command", work: work{h, commandsOf(1)}, rounds: fleetRounds, few: fleetFew, tools: []tool{
			toolBare, toolInfra, toolSSHJoined, toolMasterCold, toolMasterWarm, toolParallel, toolClush, toolFabric,
			toolRawCold, toolRawWarm, toolShellCold, toolShellWarm}},
		{title: "50 hosts, five commands", work: work{h, commandsOf(5)}, rounds: fleetRounds, few: fleetFew, tools: []tool{
			toolBare, toolInfra, toolSSHJoined, toolSSH, toolMasterCold, toolMasterWarm, toolParallel, toolClush, toolFabric,
			toolRawCold, toolRawWarm, toolShellCold, toolShellWarm}},
	} {
		scores, err := c.hold(ctx)
		if err != nil {
			return err
		}
		c.print(out, scores)
		missed = append(missed, c.besideBare(out, scores))
	}
	return errors.Join(missed...)
}

// besideBare says how near to the bare client infra comes.
func (c contest) besideBare(out io.Writer, scores []score) error {
	ours, bare := scoreOf(scores, toolInfra), scoreOf(scores, toolBare)
	wall, cpu := ratio(ours, bare, wallOf), ratio(ours, bare, cpuOf)
	fmt.Fprintf(out, "\ninfra takes %.2f times as long as the bare client, and %.2f times its CPU (medians of %d pairs)\n", wall, cpu, len(ours.samples))
	var missed []error
	if wall > fleetWall {
		missed = append(missed, fmt.Errorf("%s took %.2f times as long as the bare client, and should stay under %.1f", c.title, wall, fleetWall))
	}
	if cpu > fleetCPU {
		missed = append(missed, fmt.Errorf("%s took %.2f times the CPU of the bare client, and should stay under %.1f", c.title, cpu, fleetCPU))
	}
	return errors.Join(missed...)
}
