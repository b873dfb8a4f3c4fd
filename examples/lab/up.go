package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"infra/examples/lab/fleet"
	"infra/examples/lab/tools"
)

func upCommand(o *fleet.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring up the hosts that are not running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := up(cmd, *o)
			return err
		},
	}
	cmd.Flags().StringSliceVar(&o.Systemd, "systemd", nil, "hosts that boot a real systemd, on a Debian of their own (the first time on a machine takes a minute)")
	cmd.Flags().StringSliceVar(&o.Cloud, "cloud", nil, "hosts that exist only once terraform has made them, by the stand-in for Hetzner's API (the first time on a machine takes some minutes)")
	return cmd
}

// up installs what is missing and brings up the fleet, and says so.
func up(cmd *cobra.Command, o fleet.Options) (*fleet.Fleet, error) {
	needed := labTools
	if len(o.Systemd) > 0 {
		needed = slices.Concat(labTools, systemdTools)
	}
	if err := install(cmd.Context(), needed); err != nil {
		return nil, err
	}
	if len(o.Cloud) > 0 {
		root, err := checkout()
		if err != nil {
			return nil, err
		}
		if err := tools.Install(cmd.Context(), cmd.ErrOrStderr(), root, tools.Terraform, tools.Provider); err != nil {
			return nil, err
		}
	}
	if len(o.Systemd) > 0 && !fleet.HasTree() {
		fmt.Fprintln(cmd.ErrOrStderr(), "lab: making the root of hosts with systemd, for the first time on this machine")
	}
	began := time.Now()
	f, err := fleet.Up(cmd.Context(), o)
	if err != nil {
		return nil, err
	}
	if len(f.Started) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "lab: the fleet is up already")
		return f, nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "lab: %s up in %.1fs; project: %s\n", strings.Join(f.Started, " "), time.Since(began).Seconds(), f.Project())
	return f, nil
}

func downCommand(o *fleet.Options) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the hosts and remove all that belongs to them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := fleet.Open(o.State)
			if errors.Is(err, fs.ErrNotExist) {
				fmt.Fprintln(cmd.ErrOrStderr(), "lab: the fleet is down already")
				return nil
			}
			if err != nil {
				return err
			}
			return f.Down()
		},
	}
}

func shellCommand(o *fleet.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shell HOST [COMMAND...]",
		Short: "Log in to a host, or run a command there",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := fleet.Open(o.State)
			if err != nil {
				return err
			}
			return passThrough(cmd, exec.Command("ssh", append([]string{"-F", f.SSHConfig()}, args...)...))
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}
