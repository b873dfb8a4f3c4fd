package fleet

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/getsops/sops/v3/cmd/sops/formats"
)

//go:embed flake.nix
var flake string

// makeProject makes the user's repository, unless there is one.
func (f *Fleet) makeProject(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(f.Project(), ".git")); err == nil {
		return nil
	}
	recipient, err := f.writeAgeKey()
	if err != nil {
		return err
	}
	token := random(32) // of the cloud
	user, err := os.ReadFile(f.path("ssh", "id_ed25519.pub"))
	if err != nil {
		return err
	}
	files := map[string]string{
		"flake.nix":                    flake,
		"keys/admin.pub":               string(user),
		"generation.nix":               generation(1),
		"infra.toml":                   "# The root of the project: plans load //files from here.\n",
		".gitignore":                   ".infra/\n.terraform/\n*.tfstate\n*.tfstate.*\n",
		"terraform/cinnabar/README.md": "# cinnabar\n\nThe flake describes the server. Here are terraform's state, which is in no commit, and the lock file of its providers.\n",
		".sops.yaml":                   fmt.Sprintf("creation_rules:\n  - path_regex: ^secrets/\n    age: %s\n", recipient),
		"modules/darwin/default.nix":   "# What nixos-unified found by itself, from before the clan.\n{ }\n",
		"docs/patterns.md":             "# Patterns\n\nEvery file is a flake-parts module.\n",
	}
	for _, h := range f.Hosts() {
		text, err := encrypt(formats.Yaml, plainSecrets(h.Name, token), recipient)
		if err != nil {
			return fmt.Errorf("encrypt the secrets of %s: %w", h.Name, err)
		}
		files["secrets/"+h.Name+".yaml"] = text
	}
	clan, links, err := f.clanFiles(recipient, token)
	if err != nil {
		return err
	}
	maps.Copy(files, clan)
	for path, text := range files {
		if err := f.write(0o644, text, "project", path); err != nil {
			return err
		}
	}
	for path, to := range links {
		if err := f.link(path, to); err != nil {
			return err
		}
	}
	if err := f.write(0o600, token, "cloud", "token"); err != nil {
		return err
	}
	return errors.Join(f.git(ctx, "init", "-q"), f.ownCommits(ctx), f.commit(ctx, "A fleet of five hosts"))
}

// SetGeneration makes every system of the flake a new version, n.
func (f *Fleet) SetGeneration(ctx context.Context, n int) error {
	if err := f.write(0o644, generation(n), "project", "generation.nix"); err != nil {
		return err
	}
	return f.commit(ctx, fmt.Sprintf("Generation %d", n))
}

func generation(n int) string {
	return fmt.Sprintf("# Every system's version: change it and the systems are new ones.\n%d\n", n)
}

// CopyPlans makes the project's plans those of a folder.
func (f *Fleet) CopyPlans(ctx context.Context, from string) error {
	to := filepath.Join(f.Project(), "plans")
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy the plans: %w", err)
	}
	return f.commit(ctx, "The plans")
}

// commit keeps the repository's tree clean, so that nix does not warn of it.
func (f *Fleet) commit(ctx context.Context, message string) error {
	if err := f.git(ctx, "add", "--all"); err != nil {
		return err
	}
	if f.git(ctx, "diff", "--cached", "--quiet") == nil {
		return nil
	}
	return f.git(ctx, "commit", "-q", "-m", message)
}

// ownCommits lets whoever commits in the project, infra too, do so on a machine
// where nobody has said who they are.
func (f *Fleet) ownCommits(ctx context.Context) error {
	var errs []error
	for name, value := range map[string]string{"user.name": "lab", "user.email": "lab@localhost", "commit.gpgsign": "false"} {
		errs = append(errs, f.git(ctx, "config", name, value))
	}
	return errors.Join(errs...)
}

func (f *Fleet) git(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", f.Project(), "-c", "init.defaultBranch=main"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
