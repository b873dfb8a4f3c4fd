package main

import (
	"bufio"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"infra/runtime/clock"
	"infra/runtime/interp"
)

// An app is what every subcommand works with.
type app struct {
	stdin  io.Reader
	stdout *os.File // data
	stderr *os.File // words for people
	getenv func(string) string
	asking sync.Mutex    // one question at a time
	typed  *bufio.Reader // what the person at the terminal types; nil before the first question
	github bool          // GitHub's runner reads what is printed, whatever the environment says
	clock  func() clock.Instant
}

// root is the root of the project that the working directory belongs to.
func (a *app) root() (string, error) { return interp.FindRoot(".") }

const exitCodes = `Exit codes:
  0    ok
  1    a step, a check or an operation failed, or something is not known (a dry
       run with --strict)
  2    wrong usage, or a plan that does not load
  3    there is something to do (a dry run with --detailed-exitcode); 1 goes first
  4    a question was not answered with yes, what an operation destroys was not
       named (at the terminal, or by --destroy), what would be done is not what
       was reviewed (--plan), or a gate is closed
  5    another run holds a lock: of a host, of this project, or of a step
  130  interrupted`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "infra",
		Short: "Run infrastructure plans written in Starlark",
		Long: `infra runs infrastructure plans written in Starlark. A plan says, per phase
and per host, how a fleet of NixOS servers and Macs is changed; infra carries
it out, previews it without lying, and keeps the record.

` + exitCodes,
		Example: `  infra run --dry-run plans/blackphos.star
  infra run plans/blackphos.star
  infra log last`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	root.AddCommand(newRun(a), newResume(a), newUndo(a), newRollback(a), newUnlock(a), newVerify(a), newWatch(a), newDecide(a), newStatus(a), newGraph(a), newLog(a), newReportPage(a), newDoc(a), newVersion(a))
	return root
}
