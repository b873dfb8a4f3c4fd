package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	goodToken = "0123456789012345678901234567890123456789012345678901234567890123"
	aKey      = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOyP2PzPlv6extzGBcOTpB/o6kt1znbmLbh/irc8tNpm"
	otherKey  = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICIY8UKjYKY/Dm9ABPLwm8B0iy2czbmKlkR6hDq7CCc9"
)

// A stand-in for a test, on hardware that only notes what is done to it.
type standIn struct {
	*testing.T
	url  string
	file string
	api  *api
	mu   sync.Mutex
	done []string
}

func newStandIn(t *testing.T, file string) *standIn {
	t.Helper()
	s := &standIn{T: t, file: file}
	note := func(format string, args ...any) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done = append(s.done, fmt.Sprintf(format, args...))
		return nil
	}
	var err error
	s.api, err = newAPI(file, goodToken, hardware{
		address: func(name string) string { return map[string]string{"cinnabar": "127.1.1.2"}[name] },
		create:  func(_ context.Context, name string, keys []string) error { return note("create %s %v", name, keys) },
		remove:  func(name string) error { return note("remove %s", name) },
		power:   func(_ context.Context, name string, on bool) error { return note("power %s %v", name, on) },
		nowhere: func(int64) string { return "127.1.1.200" },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.api.handler())
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// do sends a request and returns the status, and the answer as JSON on one line.
func (s *standIn) do(method, path, body string) (int, string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+goodToken)
	return s.send(req)
}

func (s *standIn) send(req *http.Request) (int, string) {
	s.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return resp.StatusCode, string(bytes.TrimSpace(text))
}

// want sends a request and wants a status and some texts in the answer.
func (s *standIn) want(status int, method, path, body string, texts ...string) string {
	s.Helper()
	got, answer := s.do(method, path, body)
	if got != status {
		s.Errorf("%s %s: %d, want %d: %s", method, path, got, status, answer)
	}
	for _, text := range texts {
		if !strings.Contains(answer, text) {
			s.Errorf("%s %s: there is no %s in %s", method, path, text, answer)
		}
	}
	return answer
}

func (s *standIn) hardware() []string {
	s.api.tasks.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.done)
}

func TestOnlyTheTokenLetsIn(t *testing.T) {
	s := newStandIn(t, filepath.Join(t.TempDir(), "state.json"))
	for _, header := range []string{"", "Bearer ", goodToken, "Bearer " + strings.Repeat("0", 64), "Bearer " + goodToken + "0"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/servers", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", header)
		if status, answer := s.send(req); status != 401 || !strings.Contains(answer, `"code":"unauthorized"`) {
			t.Errorf("%q: %d %s", header, status, answer)
		}
	}
	s.want(200, "GET", "/v1/servers", "", `"servers":[]`)
}

func TestRefusals(t *testing.T) {
	s := newStandIn(t, filepath.Join(t.TempDir(), "state.json"))
	s.want(201, "POST", "/v1/ssh_keys", `{"name": "admin", "public_key": "`+aKey+` me"}`, `"id":1001`, `"fingerprint":"`)
	s.want(201, "POST", "/v1/servers", `{"name": "cinnabar", "server_type": "cx53", "image": 114690387, "ssh_keys": [1001]}`)
	server := `{"name": %q, "server_type": %q, "image": %q, "location": %q}`
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"a key's name twice", "POST", "/ssh_keys", `{"name": "admin", "public_key": "` + otherKey + `"}`, 409, "uniqueness_error"},
		{"a key twice", "POST", "/ssh_keys", `{"name": "other", "public_key": "` + aKey + `"}`, 409, "uniqueness_error"},
		{"no key", "POST", "/ssh_keys", `{"name": "other", "public_key": "ssh-rsa"}`, 422, "invalid_input"},
		{"no JSON", "POST", "/ssh_keys", `{`, 400, "json_error"},
		{"a server's name twice", "POST", "/servers", fmt.Sprintf(server, "cinnabar", "cx53", "debian-12", "fsn1"), 409, "uniqueness_error"},
		{"no name", "POST", "/servers", fmt.Sprintf(server, "a b", "cx53", "debian-12", "fsn1"), 422, "invalid_input"},
		{"no such type", "POST", "/servers", fmt.Sprintf(server, "b", "cx99", "debian-12", "fsn1"), 422, "invalid_input"},
		{"no such image", "POST", "/servers", fmt.Sprintf(server, "b", "cx53", "debian-2", "fsn1"), 422, "invalid_input"},
		{"an image of another architecture", "POST", "/servers", fmt.Sprintf(server, "b", "cax11", "ubuntu-24.04", "fsn1"), 422, "invalid_input"},
		{"no such location", "POST", "/servers", fmt.Sprintf(server, "b", "cx53", "debian-12", "mars1"), 422, "invalid_input"},
		{"no such ssh key", "POST", "/servers", `{"name": "b", "server_type": "cx53", "image": "debian-12", "ssh_keys": [7]}`, 404, "not_found"},
		{"an action runs", "DELETE", "/servers/1002", ``, 423, "locked"},
		{"no such server", "DELETE", "/servers/7", ``, 404, "not_found"},
		{"no number", "GET", "/servers/cinnabar", ``, 404, "not_found"},
		{"no such path", "GET", "/isos/1", ``, 404, "not_found"},
		{"no such action", "POST", "/servers/1002/actions/dance", ``, 404, "not_found"},
		{"a page before the first", "GET", "/servers?page=0", ``, 422, "invalid_input"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.want(tt.status, tt.method, "/v1"+tt.path, tt.body, `"code":"`+tt.code+`"`)
		})
	}
	s.api.tasks.Wait()
	s.want(422, "POST", "/v1/servers/1002/actions/change_type", `{"server_type": "cx53"}`, `"code":"server_not_stopped"`)
	s.want(201, "POST", "/v1/servers/1002/actions/change_protection", `{"delete": true}`)
	s.api.tasks.Wait()
	s.want(423, "DELETE", "/v1/servers/1002", ``, `"code":"protected"`)
}

func TestWhatServersDo(t *testing.T) {
	s := newStandIn(t, filepath.Join(t.TempDir(), "state.json"))
	s.want(201, "POST", "/v1/ssh_keys", `{"name": "admin", "public_key": "`+aKey+`"}`)
	s.want(201, "POST", "/v1/servers", `{"name": "cinnabar", "server_type": 22, "image": "debian-12", "ssh_keys": [1001], "labels": {"a": "b"}}`,
		`"status":"initializing"`, `"ip":"127.1.1.2"`, `"locked":true`, `"command":"create_server","status":"running"`, `"next_actions":[{`)
	s.want(201, "POST", "/v1/servers", `{"name": "other", "server_type": "cx22", "image": "debian-12"}`, `"ip":"127.1.1.200"`)
	s.api.tasks.Wait()
	s.want(200, "GET", "/v1/servers/1002", "", `"status":"running"`, `"locked":false`)
	s.want(200, "GET", "/v1/servers?name=cinnabar", "", `"total_entries":1`)
	s.want(200, "GET", "/v1/servers?label_selector=a%3Db", "", `"total_entries":1`)
	s.want(200, "GET", "/v1/servers?label_selector=!a", "", `"total_entries":1`, `"name":"other"`)
	s.want(200, "GET", "/v1/servers?per_page=1&page=2", "", `"name":"other"`, `"last_page":2`, `"next_page":null`, `"previous_page":1`)
	s.want(200, "GET", "/v1/actions?status=running", "", `"actions":[]`)
	for _, step := range []struct{ path, body string }{
		{"poweroff", ""}, {"change_type", `{"server_type": "cx53"}`}, {"rebuild", `{"image": "debian-13"}`},
	} {
		s.want(201, "POST", "/v1/servers/1002/actions/"+step.path, step.body)
		s.api.tasks.Wait()
	}
	s.want(200, "GET", "/v1/servers/1002", "", `"status":"running"`, `"name":"cx53"`, `"name":"debian-13"`, `"primary_disk_size":40`)
	s.want(201, "POST", "/v1/servers/1002/actions/poweroff", "")
	s.api.tasks.Wait()
	s.want(201, "POST", "/v1/servers/1002/actions/change_type", `{"server_type": "cx53", "upgrade_disk": true}`)
	s.api.tasks.Wait()
	s.want(201, "POST", "/v1/servers/1002/actions/poweroff", "")
	s.api.tasks.Wait()
	s.want(422, "POST", "/v1/servers/1002/actions/change_type", `{"server_type": "cx22"}`, "invalid_server_type")
	s.want(200, "PUT", "/v1/servers/1002", `{"labels": {"c": "d"}}`, `"labels":{"c":"d"}`)
	s.mu.Lock() // it does not end before it is looked at
	s.want(200, "DELETE", "/v1/servers/1002", "", `"command":"delete_server"`)
	s.want(200, "GET", "/v1/servers/1002", "", `"status":"deleting"`)
	s.mu.Unlock()
	done := s.hardware()
	s.want(404, "GET", "/v1/servers/1002", "")
	want := []string{"create cinnabar [" + aKey + "]", "power cinnabar true", "power cinnabar false", "power cinnabar true", "create cinnabar [" + aKey + "]",
		"power cinnabar false", "power cinnabar true", "power cinnabar false", "remove cinnabar"}
	var got []string
	for _, d := range done {
		if !strings.Contains(d, "other") {
			got = append(got, d)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the host saw %q, want %q", got, want)
	}
}

func TestFaultsAreMetAsOftenAsTold(t *testing.T) {
	s := newStandIn(t, filepath.Join(t.TempDir(), "state.json"))
	s.want(201, "POST", "/_lab/faults", `{"method": "GET", "path": "/servers", "status": 429, "times": 2, "skip": 2}`)
	s.want(200, "GET", "/v1/locations", "")
	for _, status := range []int{200, 200, 429, 429, 200} {
		s.want(status, "GET", "/v1/servers", "")
	}
	s.want(201, "POST", "/_lab/faults", `{"status": 503}`)
	s.want(503, "GET", "/v1/images", "", `"code":"unavailable"`)
	s.want(200, "GET", "/_lab/faults", "", `[]`)
	s.want(201, "POST", "/_lab/faults", `{"path": "/servers", "action": "resource_unavailable"}`)
	s.want(201, "POST", "/v1/servers", `{"name": "cinnabar", "server_type": "cx22", "image": "debian-12"}`)
	s.api.tasks.Wait()
	s.want(200, "GET", "/v1/actions?status=error", "", `"code":"resource_unavailable"`)
	s.want(201, "POST", "/_lab/faults", `{"status": 500}`)
	s.want(204, "DELETE", "/_lab/faults", "")
	s.want(200, "GET", "/v1/images", "")
}

// TestARestartLosesNothing takes the place of one that was killed in the middle
// of an action: that goes on.
func TestARestartLosesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	first := newStandIn(t, file)
	first.want(201, "POST", "/_lab/faults", `{"path": "/servers", "slow": 1000}`)
	first.want(201, "POST", "/v1/servers", `{"name": "cinnabar", "server_type": "cx22", "image": "debian-12"}`)
	first.want(200, "GET", "/_lab/resources", "", `"running_actions":["create_server","start_server"]`)

	second := newStandIn(t, file)
	for _, j := range second.api.state.Actions {
		j.Slow = 0
	}
	second.want(200, "GET", "/v1/servers?name=cinnabar", "", `"status":"initializing"`, `"id":1001`)
	second.api.goOn()
	if got := second.hardware(); !slices.Equal(got, []string{"create cinnabar []", "power cinnabar true"}) {
		t.Errorf("the host saw %q", got)
	}
	second.want(200, "GET", "/v1/servers/1001", "", `"status":"running"`)
	answer := second.want(201, "POST", "/v1/servers", `{"name": "other", "server_type": "cx22", "image": "debian-12"}`)
	var created struct{ Server struct{ ID int64 } }
	if err := json.Unmarshal([]byte(answer), &created); err != nil || created.Server.ID <= 1004 {
		t.Errorf("an id is given twice: %s, %v", answer, err)
	}
	second.api.tasks.Wait()
}
