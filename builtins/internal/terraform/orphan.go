package terraform

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"infra/runtime"
)

// orphanFile is added to the configuration to look for what a killed apply may
// have left: a data source of the resource's type, with its name.
const orphanFile = "infra_orphan.tf.json"

// lookFor says that the resource exists, or that this cannot be told. It
// changes nothing.
func (r *ready) lookFor(ctx context.Context, log *lineLog, b begun, c creation, note string) error {
	run := ""
	if b.Run != "" {
		run = " of run " + b.Run
	}
	began := fmt.Sprintf("the apply%s of %s that was begun at %s was cut short", run, r.Path, b.At.Format("2006-01-02 15:04:05 MST"))
	id, why := "", "it has no name to look for it by"
	if c.Name != "" {
		log.printf("%s; looking for %s %q", began, c.Type, c.Name)
		id, why = r.find(ctx, c)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch {
	case id != "":
		return runtime.WithHint(
			fmt.Errorf("%s %q exists (id %s) and the state lacks it: %s, while it created %s", c.Type, c.Name, id, began, c.Address),
			"take it into the state with %s, or delete it; then plan again", r.importing(c.Address, id))
	case why != "":
		return runtime.WithHint(
			fmt.Errorf("%s; it may have created %s (a %s%s), and whether that exists cannot be told: %s", began, c.Address, c.Type, quotedName(c.Name), why),
			"look for it; import it or delete it if it is there; then remove %s", note)
	}
	log.printf("%s %q was not created", c.Type, c.Name)
	return nil
}

// importing is how the configuration says that a resource exists.
func (r *ready) importing(address, id string) string {
	if r.Config != nil {
		return fmt.Sprintf(`"import": [{"to": %q, "id": %q}] in the configuration`, address, id)
	}
	return fmt.Sprintf("import { to = %s, id = %q } (one line each in a .tf file)", address, id)
}

func quotedName(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" called %q", name)
}

// find asks the provider for the resource. Both answers are empty where it says
// that there is none.
func (r *ready) find(ctx context.Context, c creation) (id, why string) {
	dir, err := r.besides(c)
	if err != nil {
		return "", err.Error()
	}
	defer os.RemoveAll(dir)
	address := "data." + c.Type + ".infra_orphan"
	saved, said, err := r.plan(ctx, newLog(nil), false, dir, "-refresh=false", "-target="+address)
	switch {
	case err != nil && said.notFound(address):
		return "", ""
	case err != nil:
		return "", said.said("", err.Error())
	}
	change := saved.Plan.OutputChanges["infra_orphan"]
	if change == nil || change.After == nil {
		return "", "the provider did not say"
	}
	return fmt.Sprint(change.After), ""
}

// besides makes a folder with everything that the configuration has, and a data
// source for the resource.
func (r *ready) besides(c creation) (string, error) {
	dir, err := os.MkdirTemp(r.root, "orphan-")
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(r.work)
	if err != nil {
		return dir, err
	}
	for _, e := range entries {
		if e.Name() == ".terraform" {
			continue
		}
		if err := os.Symlink(filepath.Join(r.work, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return dir, err
		}
	}
	text, err := json.Marshal(map[string]any{
		"data": map[string]any{c.Type: map[string]any{"infra_orphan": map[string]any{"name": literal(c.Name)}}},
		"output": map[string]any{"infra_orphan": map[string]any{
			"value": "${data." + c.Type + ".infra_orphan.id}", "sensitive": false}},
	})
	if err != nil {
		return dir, err
	}
	return dir, os.WriteFile(filepath.Join(dir, orphanFile), text, 0o600)
}

// literal keeps a text from being read as a template.
func literal(s string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(s)
}

var notFoundText = regexp.MustCompile(`(?i)not found|no [^.]{0,60}found|could not find|couldn't find|does not exist|doesn't exist|no matching|returned no results|empty result`)

// notFound says whether all that went wrong is that the provider knows nothing
// at the address.
func (s *stream) notFound(address string) bool {
	for _, d := range s.problems {
		if d.Address != address || !notFoundText.MatchString(d.Summary+" "+d.Detail) {
			return false
		}
	}
	return len(s.problems) > 0
}
