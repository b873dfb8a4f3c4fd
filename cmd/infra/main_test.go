package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets tests start the test binary as the program itself, by the name
// infra on PATH.
func TestMain(m *testing.M) {
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
