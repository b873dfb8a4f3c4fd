package main

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
)

// A fault makes requests go wrong. It is told by POST /_lab/faults, listed by GET
// and forgotten by DELETE there: {"method": "POST", "path": "/servers", "status":
// 429, "times": 2} answers the next two of them with that status.
type fault struct {
	Method string `json:"method,omitempty"` // "": any
	Path   string `json:"path,omitempty"`   // what the path after /v1 begins with
	Skip   int    `json:"skip,omitempty"`   // how many of these requests go well before
	Times  int    `json:"times,omitempty"`  // how often it happens; 0 is once

	// Either the request is refused with this error. The code is by default the
	// one that the API uses with the status.
	Status  int    `json:"status,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`

	// Or it is carried out, and its actions take so many seconds more, or fail
	// with a code.
	Slow   float64 `json:"slow,omitempty"`
	Action string  `json:"action,omitempty"`
}

var codes = map[int]string{
	http.StatusUnauthorized: "unauthorized", http.StatusForbidden: "forbidden", http.StatusNotFound: "not_found",
	http.StatusConflict: "conflict", http.StatusPreconditionFailed: "resource_unavailable", http.StatusUnprocessableEntity: "invalid_input",
	http.StatusLocked: "locked", http.StatusTooManyRequests: "rate_limit_exceeded", http.StatusInternalServerError: "server_error",
	http.StatusBadGateway: "bad_gateway", http.StatusServiceUnavailable: "unavailable", http.StatusGatewayTimeout: "timeout",
}

// problem is the error with which the request is refused, if it is.
func (f fault) problem() error {
	if f.Status == 0 {
		return nil
	}
	return problem{f.Status, cmp.Or(f.Code, codes[f.Status], "unknown_error"), cmp.Or(f.Message, "the lab was told to say so"), nil}
}

// fault takes the one that a request meets off the list.
func (a *api) fault(method, path string) fault {
	for i, f := range a.state.Faults {
		if f.Method != "" && f.Method != method || !strings.HasPrefix(path, f.Path) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times--; f.Times <= 0 {
			a.state.Faults = append(a.state.Faults[:i:i], a.state.Faults[i+1:]...)
		}
		return *f
	}
	return fault{}
}

func (a *api) listFaults(*request) (int, any, error) { return http.StatusOK, a.state.Faults, nil }

func (a *api) forgetFaults(*request) (int, any, error) {
	a.state.Faults = nil
	return http.StatusNoContent, nil, nil
}

func (a *api) addFault(r *request) (int, any, error) {
	var f fault
	if err := json.Unmarshal(r.body, &f); err != nil {
		return 0, nil, invalid("fault", err.Error())
	}
	f.Times = max(f.Times, 1)
	a.state.Faults = append(a.state.Faults, &f)
	return http.StatusCreated, f, nil
}

// resources is what there is, for a look from outside.
func (a *api) resources(*request) (int, any, error) {
	type row struct {
		ID      int64  `json:"id"`
		Name    string `json:"name"`
		Status  string `json:"status,omitempty"`
		Address string `json:"address,omitempty"`
	}
	servers, keys, running := []row{}, []row{}, []string{}
	for _, m := range sorted(a.state.Servers) {
		servers = append(servers, row{m.Server.ID, m.Server.Name, m.Server.Status, m.Server.PublicNet.IPv4.IP})
	}
	for _, k := range sorted(a.state.Keys) {
		keys = append(keys, row{ID: k.ID, Name: k.Name})
	}
	for _, j := range sorted(a.state.Actions) {
		if j.Action.Status == "running" {
			running = append(running, j.Action.Command)
		}
	}
	return http.StatusOK, map[string]any{"servers": servers, "ssh_keys": keys, "running_actions": running}, nil
}
