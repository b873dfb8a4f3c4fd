package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"time"

	"infra/runtime/journal"
)

// askingGit bounds how long git may take to say who a person is.
const askingGit = 5 * time.Second

// whoDecides is who a person is whose word is kept: as git has it in the project, or
// else the login and the machine.
func whoDecides(ctx context.Context, root string) string {
	ctx, cancel := context.WithTimeout(ctx, askingGit)
	defer cancel()
	name, mail := gitConfig(ctx, root, "user.name"), gitConfig(ctx, root, "user.email")
	switch {
	case name != "" && mail != "":
		return name + " <" + mail + ">"
	case name != "" || mail != "":
		return name + mail
	}
	machine, err := os.Hostname()
	if err != nil {
		return journal.Person()
	}
	return journal.Person() + "@" + machine
}

// gitConfig is a setting of git as one printable line, or "" where there is none, or no
// git.
func gitConfig(ctx context.Context, root, key string) string {
	cmd := exec.CommandContext(ctx, "git", "config", "--get", key)
	cmd.Dir = root
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(printable(string(out))), " ")
}
