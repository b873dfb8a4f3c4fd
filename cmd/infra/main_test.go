package main

import (
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets tests start the test binary as the program itself, by the name
// infra on PATH.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "4") // what runs side by side waits more than it computes; the command line comes later, and counts
	testscript.Main(m, map[string]func(){"infra": main, "infra-mortal": mortal})
}

// TestScripts runs what a person would type, in testdata/script. UPDATE=1
// rewrites the expected outputs.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}
