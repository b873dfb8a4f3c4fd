package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"infra/examples/lab/fleet"
	"infra/examples/lab/tools"
)

func runCommand(o *fleet.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run PLAN [FLAGS OF INFRA RUN...]",
		Short: "Bring up the fleet and run a plan on it with infra",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPlan(cmd, *o, args)
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// infraCommand is for all that infra has beside run: resume, undo, log.
func infraCommand(o *fleet.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "infra COMMAND...",
		Short: "Run another command of infra in the lab's project",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := checkout()
			if err != nil {
				return err
			}
			f, err := fleet.Open(o.State)
			if err != nil {
				return err
			}
			if err := buildPrograms(cmd, f, root); err != nil {
				return err
			}
			child := exec.Command(filepath.Join(f.Bin(), "infra"), args...)
			child.Dir, child.Env = f.Project(), append(os.Environ(), f.Env()...)
			return passThrough(cmd, child)
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// runPlan copies this checkout's plans to the lab's project and runs one
// there, then shows what that changed, also if it failed.
func runPlan(cmd *cobra.Command, o fleet.Options, args []string) error {
	root, err := checkout()
	if err != nil {
		return err
	}
	if usesTerraform(root, args[0]) {
		o.Cloud = []string{"cinnabar"}
	}
	f, err := up(cmd, o)
	if err != nil {
		return err
	}
	if err := f.CopyPlans(cmd.Context(), filepath.Join(root, "plans")); err != nil {
		return err
	}
	if err := buildPrograms(cmd, f, root); err != nil {
		return err
	}
	before, err := takeSnapshot(f)
	if err != nil {
		return err
	}
	args[0] = inProject(root, args[0])
	child := exec.Command(filepath.Join(f.Bin(), "infra"), append([]string{"run", "--ssh-config", f.SSHConfig()}, args...)...)
	child.Dir = f.Project()
	child.Env = append(os.Environ(), f.Env()...)
	failed := passThrough(cmd, child)
	after, err := takeSnapshot(f)
	if err != nil {
		return errors.Join(failed, err)
	}
	printChanges(cmd.ErrOrStderr(), before, after)
	return failed
}

// usesTerraform says whether a plan of the checkout, or a file that it loads,
// has terraform make servers. It needs the tools for that then, and the cloud.
func usesTerraform(root, file string) bool {
	files := []string{filepath.Join(root, inProject(root, file))}
	for i := 0; i < len(files); i++ {
		text, err := os.ReadFile(files[i])
		if err != nil {
			continue // infra says what is wrong with it
		}
		if strings.Contains(string(text), "terraform.") {
			return true
		}
		for _, load := range loads.FindAllStringSubmatch(string(text), -1) {
			next := filepath.Join(filepath.Dir(files[i]), load[1])
			if fromRoot, ok := strings.CutPrefix(load[1], "//"); ok {
				next = filepath.Join(root, fromRoot)
			}
			if !slices.Contains(files, next) {
				files = append(files, next)
			}
		}
	}
	return false
}

var loads = regexp.MustCompile(`(?m)^load\(\s*"([^"]+)"`)

// buildPrograms builds the infra of the checkout, and the lab's clan, into the
// fleet's own folder of programs.
func buildPrograms(cmd *cobra.Command, f *fleet.Fleet, root string) error {
	if err := os.MkdirAll(f.Bin(), 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(f.Bin(), "clan")); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(cmd.ErrOrStderr(), "lab: building infra, and a stand-in for clan")
	}
	if err := passThrough(cmd, goCommand(root, "build", "-tags=disable_grpc_modules", "-ldflags=-s -w", "-o", f.Bin(), "./cmd/infra", "./examples/lab/clan")); err != nil {
		return fmt.Errorf("build infra and the stand-in for clan: %w", err)
	}
	return nil
}

// inProject is the path by which a file of the checkout is found in the
// project, which has the same plans in the same place. Any other path is left
// for infra to complain of.
func inProject(root, file string) string {
	abs, err := filepath.Abs(file)
	if err != nil {
		return file
	}
	if _, err := os.Stat(abs); err != nil {
		return file
	}
	if rel, err := filepath.Rel(root, abs); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return file
}

func testCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "test [FLAGS OF GO TEST...]",
		Short:              "Install what the tests need and run all of them",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := checkout()
			if err != nil {
				return err
			}
			if err := install(cmd.Context(), slices.Concat(labTools, systemdTools, testTools)); err != nil {
				return err
			}
			if err := tools.Install(cmd.Context(), cmd.ErrOrStderr(), root, tools.Terraform, tools.Provider, tools.Tofu); err != nil {
				return err
			}
			tests := goCommand(root, append([]string{"test", "-timeout=40m", "./..."}, args...)...)
			tests.Env = append(os.Environ(), hasty)
			return passThrough(cmd, tests)
		},
	}
}

// hasty is for a program with the race detector: it would rest for a second at its
// end, in case that a goroutine is left to race, and tests run it a thousand times.
const hasty = "GORACE=atexit_sleep_ms=0"

func goCommand(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	return cmd
}

// checkout is the folder of infra's sources that we were started in.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module infra\n") {
			return dir, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("start the lab in a checkout of infra: there is no go.mod of it here or above")
		}
		dir = filepath.Dir(dir)
	}
}
