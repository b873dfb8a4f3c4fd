package terraform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"infra/builtins/internal/file"
	"infra/runtime"
)

// configFile holds a configuration that the plan has as JSON, and backendFile
// where its state is, if it does not say so itself.
const (
	configFile  = "config.tf.json"
	backendFile = "infra_backend.tf.json"
)

// init initialises the folder and notes for what. Whoever calls it has the
// folder's data alone.
func (r *ready) init(ctx context.Context, log *lineLog) error {
	if err := os.Remove(r.note()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if r.Config != nil {
		if err := r.writeConfig(); err != nil {
			return fmt.Errorf("writing the configuration of %s: %w", r.Path, err)
		}
	}
	if err := r.chooseWorkspace(); err != nil {
		return err
	}
	s, err := newScratch()
	if err != nil {
		return err
	}
	defer s.close()
	args := []string{"init", "-json", "-input=false", "-no-color"}
	if r.Config == nil {
		args = append(args, "-lockfile=readonly") // the folder is the user's
	}
	if len(r.Backend) > 0 {
		text, err := json.Marshal(r.Backend)
		if err == nil {
			err = os.WriteFile(s.backendPath(), text, 0o600)
		}
		if err != nil {
			return err
		}
		args = append(args, "-backend-config="+s.backendPath())
	}
	log.printf("%s init of %s", r.named(), r.Path)
	if name := os.Getenv("TF_CLI_CONFIG_FILE"); name != "" && r.env["TF_CLI_CONFIG_FILE"] == os.DevNull && name != os.DevNull {
		log.printf("warning: TF_CLI_CONFIG_FILE names %s, which cannot be read", name)
	}
	said, ended, err := r.runInit(ctx, log, args, s)
	if err == nil && !ended.Success() && strings.Contains(said.said("", ""), "Currently selected workspace") {
		// It is not there yet, and others are. Only an apply makes it.
		if err := os.Remove(r.chosen()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		said, ended, err = r.runInit(ctx, log, args, s)
	}
	if err != nil {
		return r.failed("init", ctx, err)
	}
	if !ended.Success() {
		return r.initError(ctx, said, howEnded(ended))
	}
	// Where the backend has only the default workspace, init has chosen that one.
	if err := r.chooseWorkspace(); err != nil {
		return err
	}
	r.forgetEmptyWorkspace()
	return r.writeNote()
}

// runInit runs init, without -json where that is not known yet: before 1.9.
func (r *ready) runInit(ctx context.Context, log *lineLog, args []string, s *scratch) (*stream, *os.ProcessState, error) {
	said, ended, err := r.run(ctx, log, task{args: args, scratch: s, grace: readGrace})
	if err == nil && !ended.Success() && said.usage { // terraform before 1.9 does not know -json
		args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "-json" })
		if s, err = newScratch(); err != nil {
			return said, ended, err
		}
		defer s.close()
		return r.run(ctx, log, task{args: args, scratch: s, grace: readGrace})
	}
	return said, ended, err
}

func (r *ready) writeNote() error {
	now, err := r.fingerprint()
	if err != nil {
		return err
	}
	return os.WriteFile(r.note(), []byte(now), 0o600)
}

// writeConfig makes the working folder of a configuration that the plan has.
func (r *ready) writeConfig() error {
	if err := os.MkdirAll(r.work, 0o700); err != nil {
		return err
	}
	named, err := namesBackend(r.Config)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.work, configFile), r.Config, 0o600); err != nil {
		return err
	}
	backend := filepath.Join(r.work, backendFile)
	if named {
		if err := os.Remove(backend); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	} else if err := os.WriteFile(backend, localBackend(r.path), 0o600); err != nil {
		return err
	}
	locks, err := os.ReadFile(filepath.Join(r.path, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.work, lockFile), locks, 0o600)
}

// keepLocks takes what init found out about providers into the project, for a
// configuration that the plan has. Only an apply does so.
func (r *ready) keepLocks() error {
	if r.Config == nil {
		return nil
	}
	locks, err := os.ReadFile(filepath.Join(r.work, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	kept := filepath.Join(r.path, lockFile)
	if there, err := os.ReadFile(kept); err == nil && bytes.Equal(there, locks) {
		return nil
	}
	if err := file.Replace(kept, locks, 0o644, nil); err != nil {
		return err
	}
	return r.writeNote()
}

func localBackend(path string) []byte {
	local := map[string]string{
		"path":          filepath.Join(path, "terraform.tfstate"),
		"workspace_dir": filepath.Join(path, "terraform.tfstate.d"),
	}
	text, _ := json.Marshal(map[string]any{"terraform": map[string]any{"backend": map[string]any{"local": local}}})
	return text
}

// namesBackend says whether the configuration says where its state is. Blocks
// may be written as an object, or as a list of them.
func namesBackend(config []byte) (bool, error) {
	var top struct {
		Terraform json.RawMessage `json:"terraform"`
	}
	if err := json.Unmarshal(config, &top); err != nil {
		return false, fmt.Errorf("it is not a JSON object: %w", err)
	}
	var blocks []map[string]json.RawMessage
	if json.Unmarshal(top.Terraform, &blocks) != nil {
		var one map[string]json.RawMessage
		if json.Unmarshal(top.Terraform, &one) == nil {
			blocks = append(blocks, one)
		}
	}
	for _, b := range blocks {
		if b["backend"] != nil || b["cloud"] != nil {
			return true, nil
		}
	}
	return false, nil
}

// chosen is the file that says which workspace is chosen.
func (r *ready) chosen() string { return filepath.Join(r.data(), "environment") }

// chooseWorkspace writes what terraform workspace select writes, which would
// make the workspace first: a dry run must not.
func (r *ready) chooseWorkspace() error {
	if r.workspace() != "default" {
		return os.WriteFile(r.chosen(), []byte(r.workspace()), 0o600)
	}
	if err := os.Remove(r.chosen()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// forgetEmptyWorkspace removes the empty folders that terraform makes for a
// workspace before there is anything in it.
func (r *ready) forgetEmptyWorkspace() {
	if r.workspace() == "default" {
		return
	}
	states := filepath.Join(r.path, "terraform.tfstate.d")
	if os.Remove(filepath.Join(states, r.workspace())) == nil {
		_ = os.Remove(states)
	}
}

func (r *ready) initError(ctx context.Context, said *stream, ended string) error {
	text := said.said(r.shownDir(), ended)
	err := fmt.Errorf("%s init of %s failed: %s", r.named(), r.Path, text)
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	switch {
	case said.has("Provider dependency changes detected"):
		return runtime.WithHint(err, "%s lacks a provider, or a version of one, that the configuration asks for; make it, and commit it: %s -chdir=%s init -backend=false",
			lockFile, r.named(), r.Path)
	case said.has("Backend configuration changed", "input is disabled", "Error asking for state migration action"):
		return runtime.WithHint(err, "the state seems to have moved; move it with: TF_DATA_DIR=%s %s -chdir=%s init -migrate-state", r.data(), r.named(), r.work)
	}
	return err
}

// shownDir is what goes before the name of a file in messages.
func (r *ready) shownDir() string {
	if r.Config != nil {
		return ""
	}
	return r.Path
}
