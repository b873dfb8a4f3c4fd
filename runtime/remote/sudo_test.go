package remote

import (
	"strings"
	"testing"

	"infra/runtime"
)

// What sudo and login shells say when they do not run the command.
func TestNotStarted(t *testing.T) {
	c := &conn{endpoint: &Endpoint{Destination: "web", User: "deploy", HostName: "10.0.0.1", Port: 22}}
	for _, k := range []struct {
		sudo        bool
		r           report
		words, hint string
	}{
		{true, report{status: 1, noise: "sudo: a password is required"}, "deploy may not use sudo without a password on 10.0.0.1:22|a password is required", "NOPASSWD|as root"},
		{true, report{status: 1, noise: "sudo: a terminal is required to read the password"}, "may not use sudo", "NOPASSWD"},
		{true, report{status: 127, noise: "sh: 1: exec: sudo: not found"}, "web (deploy@10.0.0.1:22) did not start|sudo: not found", ""},
		{false, report{status: 1, noise: "This account is currently not available."}, "did not start|not available", ""},
		{false, report{status: 1}, "did not start", "login shell of deploy|ssh web true"},
	} {
		err := c.notStarted(job{sudo: k.sudo}, k.r)
		complains(t, err, k.words, k.hint)
		if strings.Contains(k.r.noise, "not found") && strings.Contains(runtime.HintOf(err), "NOPASSWD") {
			t.Errorf("a missing sudo needs no NOPASSWD: %v", err)
		}
	}
}
