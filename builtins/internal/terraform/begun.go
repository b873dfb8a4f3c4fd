package terraform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	tfjson "github.com/hashicorp/terraform-json"
)

// A begun says what an apply was about to create. It is on disk while terraform
// runs. Where it is found later, terraform or infra was killed, or a provider
// was interrupted: what was being created may exist although no state holds it.
type begun struct {
	Run     string     `json:"run,omitempty"`
	At      time.Time  `json:"at"`
	Creates []creation `json:"creates"`
}

// A creation is a resource that is to be created.
type creation struct {
	Address  string `json:"address"`
	Type     string `json:"type"`
	Provider string `json:"provider"`
	Name     string `json:"name,omitempty"` // its attribute "name": what it can be looked for by
}

// A begunNote is a begun on disk. Its lock is held as long as infra lives; the
// process id of terraform, which may outlive infra, is in a file beside it.
// All methods do nothing on a note that is not there.
type begunNote struct {
	begun
	path string
	lock *flock.Flock
}

// begin writes the note, if there is anything to note.
func (r *ready) begin(s *Saved) (*begunNote, error) {
	b := begun{Run: r.Run, At: time.Now().UTC().Truncate(time.Second), Creates: creations(s.Plan)}
	if len(b.Creates) == 0 {
		return &begunNote{}, nil
	}
	text, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	// It is locked before it has the name by which it is found.
	f, err := os.CreateTemp(r.root, "new-*.json")
	if err != nil {
		return nil, err
	}
	n := &begunNote{begun: b, path: filepath.Join(r.root, "began-"+strings.TrimPrefix(filepath.Base(f.Name()), "new-")), lock: flock.New(f.Name())}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		_, err = n.lock.TryLock()
	}
	if err == nil {
		err = os.Rename(f.Name(), n.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return nil, err
	}
	return n, nil
}

// creations are what the plan creates where somebody else keeps it.
func creations(p *tfjson.Plan) []creation {
	var list []creation
	for _, c := range p.ResourceChanges {
		if c.Mode != tfjson.ManagedResourceMode || c.Change == nil || !slices.Contains(c.Change.Actions, tfjson.ActionCreate) || kept(c.ProviderName) {
			continue
		}
		list = append(list, creation{c.Address, c.Type, c.ProviderName, nameOf(c.Change)})
	}
	return list
}

// kept says whether the provider's resources exist in the state only, or here
// and can be made a second time.
func kept(provider string) bool {
	if strings.HasPrefix(provider, "terraform.io/builtin/") {
		return true
	}
	return slices.ContainsFunc([]string{"null", "random", "time", "tls", "local"}, func(name string) bool {
		return strings.HasSuffix(provider, "/hashicorp/"+name)
	})
}

// nameOf is the name that the resource will have, where that is known and may
// be told.
func nameOf(c *tfjson.Change) string {
	after, _ := c.After.(map[string]any)
	hidden, _ := c.AfterSensitive.(map[string]any)
	name, _ := after["name"].(string)
	if hidden["name"] == true || c.AfterSensitive == true {
		return ""
	}
	return name
}

func (n *begunNote) pidPath() string { return strings.TrimSuffix(n.path, ".json") + ".pid" }

// runs notes terraform's process.
func (n *begunNote) runs(pid int) {
	if n.path != "" {
		_ = os.WriteFile(n.pidPath(), []byte(strconv.Itoa(pid)), 0o600)
	}
}

// unsure are the creations of which terraform cannot say whether they were
// made. A provider that is interrupted, or hears no answer, drops its request:
// the other side may have heard it.
func (n *begunNote) unsure(said *stream, interrupted bool) (list []creation) {
	for _, c := range n.Creates {
		is := func(o operation) bool { return o.address == c.Address && o.action == "create" }
		failed := slices.ContainsFunc(said.failed, is)
		if slices.ContainsFunc(said.begun, is) || failed && (interrupted || said.heardNothing(c.Address)) {
			list = append(list, c)
		}
	}
	return list
}

var unheard = regexp.MustCompile(`(?i)context (canceled|deadline)|time(d )?\s?out|EOF|connection (reset|closed)|broken pipe|plugin (crash|did not respond)|\bunavailable\b|bad gateway|\b50[0-9]\b`)

// heardNothing says whether what went wrong at the address may have gone wrong
// on the way back.
func (s *stream) heardNothing(address string) bool {
	return slices.ContainsFunc(s.problems, func(d tfjson.Diagnostic) bool {
		return d.Address == address && unheard.MatchString(d.Summary+" "+d.Detail)
	})
}

// ends leaves in the note what is not sure, now that terraform has ended. Where
// it was killed that is everything: it may have lost what it said it did.
func (n *begunNote) ends(killed bool, unsure []creation) {
	if n.path == "" || killed {
		return
	}
	_ = os.Remove(n.pidPath())
	n.Creates = unsure
	text, err := json.Marshal(n.begun)
	if len(unsure) == 0 || err != nil || os.WriteFile(n.path, text, 0o600) != nil {
		n.drop()
	}
}

// drop removes the note: what it says is in the state, or was never made.
func (n *begunNote) drop() {
	if n.path != "" {
		_ = os.Remove(n.path)
		_ = os.Remove(n.pidPath())
	}
}

func (n *begunNote) close() {
	if n.lock != nil {
		_ = n.lock.Unlock()
	}
}

// alive says whether the terraform that the note is of still runs, without the
// infra that started it.
func (n *begunNote) alive(ctx context.Context, name string) bool {
	text, err := os.ReadFile(n.pidPath())
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	// Another process may have its number by now.
	said, err := exec.CommandContext(ctx, "ps", "-p", strconv.Itoa(pid), "-o", "args=").Output()
	return err != nil || strings.Contains(string(said), name)
}

// checkBegun looks at what was being created when an apply was killed: where
// the plan would create it once more, it is looked for.
func (r *ready) checkBegun(ctx context.Context, log *lineLog, s *Saved, destroy bool) error {
	paths, err := filepath.Glob(filepath.Join(r.root, "began-*.json"))
	if err != nil {
		return err
	}
	var problems []error
	for _, path := range paths {
		n := &begunNote{path: path, lock: flock.New(path)}
		if got, err := n.lock.TryLock(); err != nil || !got {
			continue // its apply is at work
		}
		if n.alive(ctx, r.named()) {
			log.printf("%s still ends an apply of %s whose infra was killed", r.named(), r.Path)
		} else {
			problems = append(problems, r.settle(ctx, log, s, n, destroy))
		}
		n.close()
	}
	return errors.Join(problems...)
}

// settle looks for everything that the note speaks of and the state lacks. The
// note stays until each was found in the state, or nowhere.
func (r *ready) settle(ctx context.Context, log *lineLog, s *Saved, n *begunNote, destroy bool) error {
	text, err := os.ReadFile(n.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it ended just now
	}
	var b begun
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err != nil {
		return fmt.Errorf("reading %s, the note of an apply that was cut short: %w", n.path, err)
	}
	var problems []error
	open := false
	for _, c := range b.Creates {
		switch p := s.changeOf(c.Address); {
		case p == nil && !destroy, p != nil && p.Change.Importing != nil:
			open = true // nobody wants it now, or it is about to be taken into the state
		case p == nil, p.Change.Actions.Create():
			// To destroy everything would leave it.
			problems = append(problems, r.lookFor(ctx, log, b, c, n.path))
		}
	}
	if err := errors.Join(problems...); err != nil || open {
		return err
	}
	n.drop()
	return nil
}

// changeOf is what becomes of the resource at an address, if the plan knows it.
func (s *Saved) changeOf(address string) *tfjson.ResourceChange {
	for _, c := range s.Plan.ResourceChanges {
		if c.Address == address && c.Change != nil {
			return c
		}
	}
	return nil
}
