package terraform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"

	"infra/builtins/internal/terraform/terraformtest"
	"infra/runtime"
)

// A keyAPI is Hetzner's API as far as it is about ssh keys.
type keyAPI struct {
	*httptest.Server
	mu      sync.Mutex
	keys    map[string]map[string]any
	made    chan struct{} // gets one for each key that is made
	answer  chan struct{} // closed: keys are made at once; else the answer comes when it is
	refuses bool
}

func newKeyAPI(t *testing.T) *keyAPI {
	a := &keyAPI{keys: map[string]map[string]any{}, made: make(chan struct{}, 10), answer: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ssh_keys", a.create)
	mux.HandleFunc("GET /ssh_keys", a.list)
	mux.HandleFunc("GET /ssh_keys/{id}", a.get)
	mux.HandleFunc("DELETE /ssh_keys/{id}", func(w http.ResponseWriter, r *http.Request) {
		a.remove(r.PathValue("id"))
		w.WriteHeader(http.StatusNoContent)
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		a.let()
		a.Close()
	})
	return a
}

// let answers all requests that wait.
func (a *keyAPI) let() {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.answer:
	default:
		close(a.answer)
	}
}

func (a *keyAPI) remove(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.keys, id)
}

func (a *keyAPI) refuse(yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuses = yes
}

func (a *keyAPI) create(w http.ResponseWriter, r *http.Request) {
	var key map[string]any
	if json.NewDecoder(r.Body).Decode(&key) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	id := len(a.keys) + 1
	key["id"], key["created"], key["fingerprint"] = id, "2026-01-02T03:04:05Z", "b7:2f:30:a0:2f:6c:58:6c:21:04:58:61:ba:06:3b:2f"
	if key["labels"] == nil {
		key["labels"] = map[string]string{}
	}
	a.keys[strconv.Itoa(id)] = key
	a.mu.Unlock()
	a.made <- struct{}{}
	<-a.answer
	reply(w, http.StatusCreated, map[string]any{"ssh_key": key})
}

func (a *keyAPI) list(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refuses {
		reply(w, http.StatusForbidden, map[string]any{"error": map[string]any{"code": "forbidden", "message": "not for you"}})
		return
	}
	found := []any{}
	for _, k := range a.keys {
		if name := r.URL.Query().Get("name"); name == "" || k["name"] == name {
			found = append(found, k)
		}
	}
	reply(w, http.StatusOK, map[string]any{"ssh_keys": found})
}

func (a *keyAPI) get(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if k := a.keys[r.PathValue("id")]; k != nil {
		reply(w, http.StatusOK, map[string]any{"ssh_key": k})
		return
	}
	reply(w, http.StatusNotFound, map[string]any{"error": map[string]any{"code": "not_found", "message": "no such key"}})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func atHetzner(api string) map[string]runtime.Text {
	return map[string]runtime.Text{
		"HCLOUD_ENDPOINT":    runtime.PlainText(api),
		"HCLOUD_TOKEN":       runtime.PlainText(strings.Repeat("t", 64)),
		"TF_CLI_CONFIG_FILE": runtime.PlainText(os.Getenv("INFRA_TEST_CONFIG")),
	}
}

// keyConfig makes one ssh key, or takes it over where it has an id.
func keyConfig(id string) []byte {
	config := map[string]any{
		"terraform": map[string]any{"required_providers": map[string]any{"hcloud": map[string]any{"source": "hetznercloud/hcloud"}}},
		"resource": map[string]any{"hcloud_ssh_key": map[string]any{"k": map[string]any{
			"name": "lab", "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8kR6jUq0m5dCGxZL0d6oPZ2fZ4x8pX1Jc6vYk0y3aP"}}},
	}
	if id != "" {
		config["import"] = []any{map[string]any{"to": "hcloud_ssh_key.k", "id": id}}
	}
	text, _ := json.Marshal(config)
	return text
}

// keyed is a folder whose configuration makes one ssh key.
func keyed(t *testing.T, binary string) (*keyAPI, *Dir) {
	t.Setenv("INFRA_TEST_CONFIG", terraformtest.Config(t))
	api := newKeyAPI(t)
	d := folder(t, binary, nil)
	d.Env, d.Config, d.Run = atHetzner(api.URL), keyConfig(""), "r-7"
	return api, d
}

func notes(t *testing.T, d *Dir) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(d.Data, "*", "began-*.json"))
	must(t, err)
	return found
}

// A provider that is interrupted drops its request, and terraform's state does
// not have what was made of it. The next plan finds it.
func TestCancelledWhileAProviderCreates(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		api, d := keyed(t, binary)
		s := planned(t, d)
		ctx, cancel := context.WithCancelCause(inTime(t))
		go func() {
			<-api.made
			cancel(errors.New("changed my mind"))
		}()
		_, err := d.Apply(ctx, nil, s)
		complains(t, err, "was interrupted", "failed: hcloud_ssh_key.k (creating)", "it is not known whether this was made, and the next plan looks for it: hcloud_ssh_key.k")
		_, err = d.Plan(inTime(t), nil, false)
		complains(t, err, `hcloud_ssh_key "lab" exists (id 1) and the state lacks it`)
	})
}

func TestInfraIsKilledWhileAProviderCreates(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		api, d := keyed(t, binary)
		infra := exec.Command(os.Args[0])
		infra.Env = append(os.Environ(), "INFRA_TEST_APPLIES="+d.Path, "INFRA_TEST_DATA="+d.Data, "INFRA_TEST_BINARY="+binary, "INFRA_TEST_API="+api.URL)
		must(t, infra.Start())
		<-api.made
		must(t, infra.Process.Kill())
		_ = infra.Wait()
		eventually(t, "terraform has ended", func() bool {
			return !(&begunNote{path: notes(t, d)[0]}).alive(t.Context(), filepath.Base(binary))
		})
		_, err := d.Plan(inTime(t), nil, false)
		complains(t, err, `hcloud_ssh_key "lab" exists (id 1) and the state lacks it`, "the apply of run r-killed of "+d.Path)
	})
}

// While terraform still ends, what it makes is nobody's yet.
func TestTerraformOutlivesInfra(t *testing.T) {
	_, d := keyed(t, anyTool(t))
	planned(t, d)
	note := filepath.Join(d.Data, "terraform-default", "began-1.json")
	write(t, note, `{"creates":[{"address":"hcloud_ssh_key.k","type":"hcloud_ssh_key","provider":"p"}]}`)
	left := exec.Command("sh", "-c", "read x", "terraform")
	in, err := left.StdinPipe()
	must(t, err)
	must(t, left.Start())
	write(t, strings.TrimSuffix(note, "json")+"pid", strconv.Itoa(left.Process.Pid))
	var log strings.Builder
	_, err = d.Plan(inTime(t), &log, false)
	must(t, err)
	says(t, log.String(), "still ends an apply of "+d.Path+" whose infra was killed")
	must(t, in.Close())
	_ = left.Wait()
	_, err = d.Plan(inTime(t), nil, false)
	complains(t, err, "cannot be told")
}

// A creation that the other side refused was not made.
func TestARefusedCreation(t *testing.T) {
	n := &begunNote{begun: begun{Creates: []creation{{Address: "a.b"}}}}
	for detail, want := range map[string]int{
		"name is already used (uniqueness_error)": 0, "Post: context deadline exceeded": 1, "unexpected EOF": 1,
		"server error 503": 1, "service unavailable": 1, "no room (resource_unavailable)": 0, "id 1503 refused": 0, "connect: connection refused": 0, "dial tcp: i/o timeout": 1,
	} {
		said := &stream{failed: []operation{{address: "a.b", action: "create"}},
			problems: []tfjson.Diagnostic{{Severity: "error", Address: "a.b", Detail: detail}}}
		if got := len(n.unsure(said, false)); got != want {
			t.Errorf("%s: %d are unsure", detail, got)
		}
		if got := len(n.unsure(said, true)); got != 1 {
			t.Errorf("%s, interrupted: %d are unsure", detail, got)
		}
	}
}

// orphaned is a key that exists and that no state has: terraform was killed.
func orphaned(t *testing.T, binary string) (*keyAPI, *Dir) {
	api, d := keyed(t, binary)
	s := planned(t, d)
	go func() {
		<-api.made
		pids, _ := filepath.Glob(filepath.Join(d.Data, "*", "began-*.pid"))
		for _, name := range pids {
			text, _ := os.ReadFile(name)
			if pid, err := strconv.Atoi(string(text)); err == nil && pid > 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}()
	a, err := d.Apply(inTime(t), nil, s)
	complains(t, err, "terraform was ended by KILL", "in flight when it ended: hcloud_ssh_key.k (creating)", "the next plan looks for it: hcloud_ssh_key.k")
	if len(a.Done) != 0 || len(notes(t, d)) != 1 {
		t.Errorf("it did %v, and left %v", a.Done, notes(t, d))
	}
	api.let()
	return api, d
}

func TestOrphan(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		api, d := orphaned(t, binary)
		for range 2 {
			_, err := d.Plan(inTime(t), nil, false)
			complains(t, err, `hcloud_ssh_key "lab" exists (id 1) and the state lacks it`, "the apply of run r-7 of "+d.Path+" that was begun at 2",
				"while it created hcloud_ssh_key.k", `"import": [{"to": "hcloud_ssh_key.k", "id": "1"}] in the configuration, or delete it`)
		}
		_, err := d.Plan(inTime(t), nil, true)
		complains(t, err, `hcloud_ssh_key "lab" exists (id 1) and the state lacks it`) // to destroy everything would leave it
		api.refuse(true)
		_, err = d.Plan(inTime(t), nil, false)
		complains(t, err, "whether that exists cannot be told", "not for you", `called "lab"`, "then remove "+notes(t, d)[0])
		api.refuse(false)

		t.Run("deleted", func(t *testing.T) {
			d := twin(t, d)
			api.mu.Lock()
			key := api.keys["1"]
			api.mu.Unlock()
			api.remove("1")
			var log strings.Builder
			s, err := d.Plan(inTime(t), &log, false)
			must(t, err)
			says(t, log.String(), `hcloud_ssh_key "lab" was not created`)
			if s.operations() != 1 || len(notes(t, d)) != 0 {
				t.Errorf("%d operations, %v", s.operations(), notes(t, d))
			}
			api.mu.Lock()
			api.keys["1"] = key
			api.mu.Unlock()
		})
		t.Run("imported", func(t *testing.T) {
			d.tool, d.Config = nil, keyConfig("1")
			s := planned(t, d)
			if len(notes(t, d)) != 1 {
				t.Error("a plan alone took nothing into the state, and the note is gone")
			}
			applied(t, d, s)
			if n := planned(t, d).operations(); n != 0 || len(notes(t, d)) != 0 || len(api.keys) != 1 {
				t.Errorf("the next plan has %d operations; %v", n, notes(t, d))
			}
		})
	})
}

// twin is the same folder with a copy of the data.
func twin(t *testing.T, d *Dir) *Dir {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	must(t, exec.Command("cp", "-R", d.Data, data).Run())
	return &Dir{Binary: d.Binary, Path: d.Path, Data: data, Env: d.Env, Config: d.Config, Run: d.Run}
}

// Of a terraform that was killed all is kept: it may have lost what it did.
func TestWhatIsLeftOfANote(t *testing.T) {
	for _, tt := range []struct {
		killed bool
		unsure int
		want   int
	}{{true, 0, 2}, {true, 1, 2}, {false, 1, 1}, {false, 0, -1}} {
		all := []creation{{Address: "a.b"}, {Address: "a.c"}}
		n := &begunNote{begun: begun{Creates: all}, path: filepath.Join(t.TempDir(), "began-1.json")}
		text, err := json.Marshal(n.begun)
		must(t, err)
		write(t, n.path, string(text))
		n.ends(tt.killed, all[:tt.unsure])
		var left begun
		got := -1
		if text, err := os.ReadFile(n.path); err == nil && json.Unmarshal(text, &left) == nil {
			got = len(left.Creates)
		}
		if got != tt.want {
			t.Errorf("%+v: %d are left", tt, got)
		}
	}
}

func TestANoteThatCannotBeRead(t *testing.T) {
	d := folder(t, anyTool(t), map[string]string{"main.tf": `output "x" { value = 1 }`})
	planned(t, d)
	note := filepath.Join(d.Data, "terraform-default", "began-1.json")
	write(t, note, "{")
	_, err := d.Plan(inTime(t), nil, false)
	complains(t, err, note, "the note of an apply that was cut short")
	write(t, note, `{"creates":[{"address":"a.b","type":"a","provider":"p"}]}`)
	planned(t, d) // nobody wants a.b now; it may be there nevertheless
	if found := notes(t, d); len(found) != 1 {
		t.Errorf("the notes are %v", found)
	}
}

func TestWithoutALook(t *testing.T) {
	r := &ready{Dir: &Dir{Path: "p"}}
	err := r.lookFor(context.Background(), newLog(nil), begun{}, creation{Address: "a.b", Type: "a"}, "the-note")
	complains(t, err, "it may have created a.b (a a)", "it has no name to look for it by", "remove the-note")
	if fmt.Sprint(err) == "" {
		t.Error("it says nothing")
	}
}
