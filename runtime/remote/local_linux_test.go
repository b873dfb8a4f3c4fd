package remote

import (
	"testing"
	"time"
)

// A command with a grace of its own hears of infra's death from the reaper
// only.
func TestLocalGraceHearsOneTERM(t *testing.T) {
	argv := []string{"true"}
	if usual := process(Command{Argv: argv}); usual.SysProcAttr.Pdeathsig == 0 {
		t.Error("the kernel does not tell a command of infra's death")
	}
	if own := process(Command{Argv: argv, Grace: time.Minute}); own.SysProcAttr.Pdeathsig != 0 {
		t.Errorf("the kernel sends %s too", own.SysProcAttr.Pdeathsig)
	}
}
