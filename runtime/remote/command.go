// Package remote runs commands: on the machine infra runs on, or on a host
// over one pooled ssh connection.
package remote

import (
	"io"
	"os"
	"time"

	"infra/runtime"
)

// A Command is a process to run, here or on a host.
type Command struct {
	Argv  []string                // never empty; never a secret
	Env   map[string]runtime.Text // added to the environment; never seen in an argument list
	Stdin runtime.Text            // all of its input
	Dir   string                  // the working directory; "" is the project's root here, the home on a host
	Sudo  bool                    // on a host: as root, by sudo -n, unless the login is root already
	Reads bool                    // on a host: it changes nothing there, and what comes next may share its session

	// Unit is a name that no other command has, of letters, digits and hyphens.
	// Where it is not "", [Pool.Run] runs the command as a unit of systemd, if
	// that runs the host and the command runs as root: see [Pool.Settle].
	Unit string

	Stdout io.Writer // gets the output as it comes; nil drops it; a file is handed on as it is
	Stderr io.Writer

	// On this machine only:

	Grace    time.Duration // between TERM and KILL; 0 is 10 seconds
	Environ  []string      // the whole environment, before Env; nil is infra's own
	Terminal *os.File      // its terminal, in the place of Stdin, Stdout and Stderr; the process leads a session then
}

// Check says why no process can be given the command. [Run] and [Pool.Run]
// refuse it for the same reason; a preview asks before.
func (c Command) Check() error { return checkCommand(c) }

// An Exit is how a process ended. A process that ran and failed is an Exit,
// not an error.
type Exit struct {
	Code   int    // the exit code; 128 + n where signal n ended it
	Signal string // "TERM" where a signal ended it, else ""
}
