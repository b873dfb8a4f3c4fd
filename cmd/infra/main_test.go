package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets tests start the test binary as the program itself, by the name
// infra on PATH.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "4") // what runs side by side waits more than it computes; the command line comes later, and counts
	testscript.Main(tests{m}, map[string]func(){"infra": main, "infra-mortal": mortal, "infra-stepped": stepped, "infra-warm": warmed, "infra-mistaken": mistaken})
}

// tests removes what they share when all have ended.
type tests struct{ *testing.M }

// Run runs the tests.
func (m tests) Run() int {
	defer func() {
		for _, dir := range []string{standInDir, unracedDir} {
			if dir != "" {
				_ = os.RemoveAll(dir)
			}
		}
	}()
	return m.M.Run()
}

// quick is the program of that name without the race detector, with which it takes
// three times as long. It is for those that run it a hundred times and more: what they
// do with it, others do with the detector.
func quick(t *testing.T, name string) string {
	t.Helper()
	info, ok := debug.ReadBuildInfo()
	if !ok || !slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return name
	}
	if err := unraced(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(unracedDir, name)
}

// unracedDir is where that is; "" where no test wanted it.
var unracedDir string

// unraced builds it once: this test binary, as TestMain has it.
var unraced = sync.OnceValue(func() (err error) {
	if unracedDir, err = os.MkdirTemp("", "infra-unraced"); err != nil {
		return err
	}
	cmd := exec.Command("go", "test", "-c", "-race=false", "-ldflags=-s -w", "-o", filepath.Join(unracedDir, "infra"), ".")
	cmd.Stderr = os.Stderr
	err = cmd.Run()
	for _, name := range []string{"infra-mortal", "infra-stepped"} {
		err = errors.Join(err, os.Symlink("infra", filepath.Join(unracedDir, name)))
	}
	return err
})

// TestScripts runs what a person would type, in testdata/script. UPDATE=1
// rewrites the expected outputs.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		WorkdirRoot:         t.TempDir(), // the library's own stays where -run leaves a script out
		UpdateScripts:       os.Getenv("UPDATE") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
	})
}
