package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// A tool is a program and the Debian packages that it takes.
type tool struct{ program, pkgs string }

// labTools are what the fleet needs.
var labTools = []tool{
	{"nix", "nix-bin"}, {"sshd", "openssh-server"}, {"ssh", "openssh-client"}, {"git", "git"}, {"update-ca-certificates", "ca-certificates"},
}

// systemdTools are what hosts with systemd need beside them.
var systemdTools = []tool{
	{"mmdebstrap", "mmdebstrap"}, {"ip", "iproute2"},
}

// testTools are what the tests need beside them: the shells are those that a
// host's login may have.
var testTools = []tool{
	{"age", "age"}, {"tmux", "tmux"}, {"sudo", "sudo"}, {"gcc", "gcc libc6-dev"}, // go test -race links with it
	{"chromium", "chromium"}, {"chromedriver", "chromium-driver"}, // the page of infra report is looked at
	{"busybox", "busybox"}, {"zsh", "zsh"}, {"fish", "fish"}, {"tcsh", "tcsh"}, {"mksh", "mksh"},
}

// install installs those tools that are missing.
func install(ctx context.Context, tools []tool) error {
	var pkgs []string
	for _, t := range tools {
		if !installed(t.program) {
			pkgs = append(pkgs, strings.Fields(t.pkgs)...)
		}
	}
	if len(pkgs) == 0 {
		return nil
	}
	if os.Getuid() != 0 {
		return fmt.Errorf("%s must be installed, which needs root (try: sudo)", strings.Join(pkgs, " "))
	}
	if !installed("apt-get") {
		return fmt.Errorf("there is no apt-get here: install %s by hand", strings.Join(pkgs, " "))
	}
	fmt.Fprintln(os.Stderr, "lab: installing", strings.Join(pkgs, " "))
	if err := aptGet(ctx, "update"); err != nil {
		return err
	}
	unpolicy, err := startNoServices()
	if err != nil {
		return err
	}
	err = aptGet(ctx, append([]string{"install", "--yes", "--no-install-recommends"}, pkgs...)...)
	return errors.Join(err, unpolicy())
}

// installed also looks where a user's PATH may not lead.
func installed(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	_, err := os.Stat("/usr/sbin/" + program)
	return err == nil
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-qq"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// policy is the file by which Debian is told not to start services: the lab
// wants the programs, not an sshd on port 22.
const policy = "/usr/sbin/policy-rc.d"

// startNoServices keeps packages from starting services until the returned
// function is called.
func startNoServices() (func() error, error) {
	file, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return func() error { return nil }, nil // the machine has a policy of its own
	}
	if err != nil {
		return nil, fmt.Errorf("keep apt from starting services: %w", err)
	}
	_, err = file.WriteString("#!/bin/sh\nexit 101\n")
	return func() error { return os.Remove(policy) }, errors.Join(err, file.Close())
}
