// Lab is the stand-in fleet: five hosts on this machine, on which infra's
// plans are run for real.
//
//	go run ./examples/lab run plans/blackphos.star --override stable:cinnabar --because "no week goes by"
//	go run ./examples/lab up|down|status|shell HOST
//	go run ./examples/lab up --systemd cinnabar
//	go run ./examples/lab infra undo last
//	go run ./examples/lab test
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"infra/examples/lab/fleet"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := rootCommand().ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	return 1
}

func rootCommand() *cobra.Command {
	var o fleet.Options
	root := &cobra.Command{
		Use:           "lab",
		Short:         "Five stand-in hosts on this machine, to run plans on (Linux, as root)",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().StringVar(&o.State, "state", "", "the fleet's folder (default infra-lab in the temporary folder)")
	root.PersistentFlags().StringVar(&o.Net, "net", "", "the first three numbers of the hosts' loopback addresses (default "+fleet.DefaultNet+")")
	root.AddCommand(upCommand(&o), downCommand(&o), statusCommand(&o), shellCommand(&o), runCommand(&o), infraCommand(&o), testCommand())
	return root
}
