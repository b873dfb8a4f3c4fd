package terraform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"infra/builtins/internal/terraform/terraformtest"
)

// slowThing finishes a, and is at b until somebody ends it.
const slowThing = `
resource "terraform_data" "a" {}
resource "terraform_data" "b" {
  input = terraform_data.a.id
  provisioner "local-exec" { command = "echo at-work in $PWD; exec sleep 300" }
}
`

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came true: %s", what)
		}
	}
}

// stateHolds says whether the state on disk has both resources, b as one that
// has to be made anew.
func stateHolds(path string) bool {
	text, _ := os.ReadFile(filepath.Join(path, "terraform.tfstate"))
	return bytes.Contains(text, []byte(`"name": "a"`)) && bytes.Contains(text, []byte(`"status": "tainted"`))
}

// scratchesWith are the private folders in which terraform has said the text.
func scratchesWith(t *testing.T, text string) (found []string) {
	t.Helper()
	for _, base := range []string{memory, os.TempDir()} {
		all, _ := filepath.Glob(filepath.Join(base, scratchPrefix+"*", "stdout"))
		for _, name := range all {
			if said, _ := os.ReadFile(name); bytes.Contains(said, []byte(text)) {
				found = append(found, name)
			}
		}
	}
	return found
}

func TestCancelledApply(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		d := folder(t, binary, map[string]string{"main.tf": slowThing})
		s := planned(t, d)
		ctx, cancel := context.WithCancelCause(inTime(t))
		why, log := errors.New("changed my mind"), noticing("at-work in /")
		go func() { <-log.came; cancel(why) }()
		a, err := d.Apply(ctx, log, s)
		complains(t, err, "apply of "+d.Path+" was interrupted", "done: terraform_data.a (created)", "failed: terraform_data.b (creating)",
			"the state holds what was done")
		if !errors.Is(err, why) {
			t.Errorf("%v is not of its cause", err)
		}
		if len(a.Done) != 1 || a.Done[0].Address != "terraform_data.a" {
			t.Errorf("done: %+v", a.Done)
		}
		if !stateHolds(d.Path) {
			t.Error("the state was not written")
		}
		if n := planned(t, d).operations(); n != 2 {
			t.Errorf("the next plan has %d operations, want a replacement of b", n)
		}
	})
}

func TestInfraIsKilledWhileItApplies(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		d := folder(t, binary, map[string]string{"main.tf": slowThing})
		infra := exec.Command(os.Args[0])
		infra.Env = append(os.Environ(), "INFRA_TEST_APPLIES="+d.Path, "INFRA_TEST_DATA="+d.Data, "INFRA_TEST_BINARY="+binary)
		log := noticing("at-work in /")
		infra.Stdout, infra.Stderr = log, log
		must(t, infra.Start())
		log.await(t)
		if n := len(scratchesWith(t, d.Path)); n != 1 {
			t.Errorf("%d private folders are found while it applies", n)
		}
		must(t, infra.Process.Kill())
		_ = infra.Wait()
		eventually(t, "terraform has ended and written its state", func() bool { return stateHolds(d.Path) })
		eventually(t, "its private folder is gone", func() bool {
			return len(scratchesWith(t, d.Path)) == 0
		})
		if n := planned(t, d).operations(); n != 2 {
			t.Errorf("the next plan has %d operations, want a replacement of b", n)
		}
	})
}

// signals is a process that notes what it is told, and whose child, as a
// provider is one, does too. The second line is what it was told.
const signals = `
sh -c 'trap "echo child INT" INT; trap "echo child TERM" TERM; echo child up; while :; do sleep 0.05; done' & child=$!
trap 'echo told INT; told=1' INT
trap 'echo told TERM; told=1' TERM
while [ -z "$told" ]; do sleep 0.05; done
sleep 0.3
kill -KILL $child
echo over
`

// Only terraform is told to end, once, and with INT: a provider dies of TERM.
func TestOnlyTheProcessIsTold(t *testing.T) {
	// As infra does. INT would be ignored by all that is started here where it is by us,
	// as in the background of a shell.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	t.Cleanup(func() { signal.Reset(os.Interrupt) })
	s, err := newScratch()
	must(t, err)
	defer s.close()
	ctx, cancel := context.WithCancel(inTime(t))
	p := process{argv: []string{"/bin/sh", "-c", signals}, env: []string{"PATH=" + os.Getenv("PATH")}, scratch: s}
	go func() {
		eventually(t, "the child is up", func() bool { text, _ := os.ReadFile(s.stdout.Name()); return len(text) > 0 })
		cancel()
	}()
	state, err := p.run(ctx)
	must(t, err)
	text, err := os.ReadFile(s.stdout.Name())
	must(t, err)
	if want := "child up\ntold INT\nover\n"; string(text) != want || !state.Success() {
		t.Errorf("%v, %q, want %q", state, text, want)
	}
}

func TestAReadingProcessIsKilledInTheEnd(t *testing.T) {
	s, err := newScratch()
	must(t, err)
	defer s.close()
	ctx, cancel := context.WithCancel(inTime(t))
	p := process{argv: []string{"/bin/sh", "-c", "trap '' INT; echo up; while :; do sleep 0.05; done"},
		env: []string{"PATH=" + os.Getenv("PATH")}, scratch: s, grace: 200 * time.Millisecond, started: func(int) { cancel() }}
	state, err := p.run(ctx)
	must(t, err)
	if signalOf(state) != "KILL" && signalOf(state) != "INT" { // INT where it came before the trap
		t.Errorf("it ended by %v", state)
	}
}

// A grandchild that holds terraform's output does not hold us up.
func TestAGrandchildThatHoldsTheOutput(t *testing.T) {
	real := terraformtest.Binary(t, "terraform")
	wrapper, pids := filepath.Join(t.TempDir(), "terraform"), filepath.Join(t.TempDir(), "pids")
	write(t, wrapper, fmt.Sprintf("#!/bin/sh\nsleep 300 &\necho $! >>%s\nexec %s \"$@\"\n", pids, real))
	must(t, os.Chmod(wrapper, 0o755))
	d := folder(t, wrapper, map[string]string{"main.tf": twoThings})
	t.Cleanup(func() {
		text, _ := os.ReadFile(pids)
		for _, pid := range strings.Fields(string(text)) {
			n := 0
			if _, err := fmt.Sscan(pid, &n); err == nil && n > 1 {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
	})
	began := time.Now()
	s := planned(t, d)
	a, err := func() (Applied, error) {
		// hidden outputs are read by terraform-exec, which does wait: without them
		write(t, filepath.Join(d.Path, "main.tf"), `resource "terraform_data" "a" {}`)
		s = planned(t, d)
		return d.Apply(inTime(t), nil, s)
	}()
	must(t, err)
	if took := time.Since(began); took > time.Minute || len(a.Done) != 1 {
		t.Errorf("it took %s and did %v", took, a.Done)
	}
	text, _ := os.ReadFile(pids)
	for _, pid := range strings.Fields(string(text)) {
		n := 0
		fmt.Sscan(pid, &n)
		if err := syscall.Kill(n, 0); err != nil {
			t.Errorf("what held the output had ended before: %v", err)
		}
	}
}

func TestALockedState(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		wrapper, calls := counting(t, filepath.Base(binary))
		d := folder(t, wrapper, map[string]string{"main.tf": `resource "terraform_data" "a" {}`})
		s := planned(t, d)
		other := exec.Command(binary, "apply", "-no-color") // it has the lock until it is answered
		other.Dir, other.Env = d.Path, append(os.Environ(), "TF_DATA_DIR="+t.TempDir(), "CHECKPOINT_DISABLE=1")
		answer, err := other.StdinPipe()
		must(t, err)
		asks := noticing("Enter a value")
		other.Stdout, other.Stderr = asks, asks
		must(t, other.Start())
		asks.await(t)

		d.LockTimeout = 300 * time.Millisecond
		_, err = d.Apply(inTime(t), nil, s)
		complains(t, err, "the state is locked, held by "+os.Getenv("USER"), "@", " since 2", "Apply, id ", "it was waited for, 300ms", "force-unlock ")

		d.LockTimeout = hang
		log := noticing("waiting for the lock of the state of " + d.Path + ": held by ")
		calls()
		go func() {
			<-log.came
			var all string
			eventually(t, "it was tried three times", func() bool {
				all += calls()
				return strings.Count(all, "apply") >= 3
			})
			fmt.Fprintln(answer, "no")
		}()
		a, err := d.Apply(inTime(t), log, s)
		must(t, err)
		if len(a.Done) != 1 {
			t.Errorf("it did %v", a.Done)
		}
		if n := strings.Count(log.String(), "waiting for the lock"); n != 1 {
			t.Errorf("it says %d times that it waits", n)
		}
		_ = other.Wait()
	})
}
