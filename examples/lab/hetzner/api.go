package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An api answers requests. All of it is done under one lock, but for what
// actions do.
type api struct {
	mu    sync.Mutex
	state state
	file  string
	token string
	host  hardware
	log   *log.Logger
	tasks sync.WaitGroup // the actions that are running
}

func newAPI(file, token string, host hardware) (*api, error) {
	a := &api{file: file, token: token, host: host, log: log.New(io.Discard, "", 0)}
	return a, a.load()
}

// A problem is an error of the API.
type problem struct {
	status        int
	code, message string
	fields        map[string]string // what is wrong with which field
}

func (p problem) Error() string { return p.message + " (" + p.code + ")" }

func notFound(what string, id any) error {
	return problem{http.StatusNotFound, "not_found", fmt.Sprintf("%s with ID '%v' not found", what, id), nil}
}

func invalid(field, message string) error {
	return problem{http.StatusUnprocessableEntity, "invalid_input", fmt.Sprintf("invalid input in field '%s'", field), map[string]string{field: message}}
}

// A request is one that was let in.
type request struct {
	query url.Values
	body  []byte
	id    int64
	what  string // which action of a server is asked for
	fault fault
}

// into reads the body.
func (r *request) into(v any) error {
	if err := json.Unmarshal(r.body, v); err != nil {
		return problem{http.StatusBadRequest, "json_error", "invalid JSON in the request body", nil}
	}
	return nil
}

// An answer carries out a request, under the lock.
type answer func(*request) (status int, body any, err error)

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, do := range map[string]answer{
		"GET /ssh_keys":                     a.listKeys,
		"POST /ssh_keys":                    a.createKey,
		"GET /ssh_keys/{id}":                a.getKey,
		"PUT /ssh_keys/{id}":                a.changeKey,
		"DELETE /ssh_keys/{id}":             a.deleteKey,
		"GET /servers":                      a.listServers,
		"POST /servers":                     a.createServer,
		"GET /servers/{id}":                 a.getServer,
		"PUT /servers/{id}":                 a.changeServer,
		"DELETE /servers/{id}":              a.deleteServer,
		"POST /servers/{id}/actions/{what}": a.actOnServer,
		"GET /actions":                      a.listActions,
		"GET /actions/{id}":                 a.getAction,
		"GET /locations":                    listed("locations", locations, func(l location) (int64, string) { return l.ID, l.Name }, nil),
		"GET /locations/{id}":               found("location", locations, func(l location) int64 { return l.ID }),
		"GET /server_types":                 listed("server_types", serverTypes, func(t serverType) (int64, string) { return t.ID, t.Name }, func(t serverType) string { return t.Architecture }),
		"GET /server_types/{id}":            found("server_type", serverTypes, func(t serverType) int64 { return t.ID }),
		"GET /images":                       listed("images", images, func(i image) (int64, string) { return i.ID, i.Name }, func(i image) string { return i.Architecture }),
		"GET /images/{id}":                  found("image", images, func(i image) int64 { return i.ID }),
	} {
		method, path, _ := strings.Cut(pattern, " ")
		mux.Handle(method+" /v1"+path, a.serve(do, true))
	}
	for _, none := range []string{"firewalls", "networks", "volumes", "placement_groups", "primary_ips", "floating_ips", "certificates", "load_balancers"} {
		mux.Handle("GET /v1/"+none, a.serve(func(r *request) (int, any, error) { return page(none, []string{}, r.query) }, true))
	}
	mux.Handle("/v1/", a.serve(func(*request) (int, any, error) {
		return 0, nil, problem{http.StatusNotFound, "not_found", "the lab's stand-in has nothing there", nil}
	}, true))
	mux.Handle("GET /_lab/faults", a.serve(a.listFaults, false))
	mux.Handle("POST /_lab/faults", a.serve(a.addFault, false))
	mux.Handle("DELETE /_lab/faults", a.serve(a.forgetFaults, false))
	mux.Handle("GET /_lab/resources", a.serve(a.resources, false))
	return mux
}

// serve is what all requests have in common.
func (a *api) serve(do answer, guarded bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, h *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, h.Body, 1<<20))
		r := &request{query: h.URL.Query(), body: body, what: h.PathValue("what")}
		if id := h.PathValue("id"); err == nil && id != "" {
			if r.id, err = strconv.ParseInt(id, 10, 64); err != nil {
				err = notFound("resource", id)
			}
		}
		var status int
		var value any
		if err == nil {
			status, value, err = a.carryOut(do, r, h, guarded)
		}
		reply(w, status, value, err, a.log, h)
	})
}

// carryOut lets a request in or refuses it, and does what it asks for.
func (a *api) carryOut(do answer, r *request, h *http.Request, guarded bool) (int, any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if guarded {
		if h.Header.Get("Authorization") != "Bearer "+a.token {
			return 0, nil, problem{http.StatusUnauthorized, "unauthorized", "the token you provided is invalid", nil}
		}
		r.fault = a.fault(h.Method, strings.TrimPrefix(h.URL.Path, "/v1"))
		if err := r.fault.problem(); err != nil {
			return 0, nil, errors.Join(err, a.save())
		}
	}
	status, value, err := do(r)
	if err == nil && h.Method != http.MethodGet {
		err = a.save()
	}
	return status, value, err
}

func reply(w http.ResponseWriter, status int, value any, err error, log *log.Logger, h *http.Request) {
	remaining := "3599"
	if err != nil {
		p := problem{http.StatusInternalServerError, "server_error", err.Error(), nil}
		_ = errors.As(err, &p) // else it is one of the lab's own
		if p.status == http.StatusTooManyRequests {
			remaining = "0"
		}
		details := map[string]any{}
		for field, message := range p.fields {
			details["fields"] = []any{map[string]any{"name": field, "messages": []string{message}}}
		}
		status, value = p.status, map[string]any{"error": map[string]any{"code": p.code, "message": p.message, "details": details}}
	}
	log.Printf("%s %s -> %d", h.Method, h.URL.RequestURI(), status)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("RateLimit-Limit", "3600")
	w.Header().Set("RateLimit-Remaining", remaining)
	w.Header().Set("RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Second).Unix(), 10))
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		_ = json.NewEncoder(w).Encode(value) // whoever asked has gone, or reads it
	}
}

// page is one page of a list, as the query asks for.
func page[T any](key string, all []T, query url.Values) (int, any, error) {
	number, size := 1, 25
	for name, to := range map[string]*int{"page": &number, "per_page": &size} {
		if text := query.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return 0, nil, invalid(name, "must be a positive number")
			}
			*to = n
		}
	}
	size = min(size, 50)
	last := max(1, (len(all)+size-1)/size)
	from := min((number-1)*size, len(all))
	meta := map[string]any{"page": number, "per_page": size, "previous_page": nil, "next_page": nil, "last_page": last, "total_entries": len(all)}
	if number > 1 {
		meta["previous_page"] = number - 1
	}
	if number < last {
		meta["next_page"] = number + 1
	}
	part := append([]T{}, all[from:min(from+size, len(all))]...)
	return http.StatusOK, map[string]any{key: part, "meta": map[string]any{"pagination": meta}}, nil
}

// listed lists a part of the catalog.
func listed[T any](key string, all []T, id func(T) (int64, string), architecture func(T) string) answer {
	return func(r *request) (int, any, error) {
		var chosen []T
		for _, x := range all {
			_, name := id(x)
			if asked, ok := r.query["name"]; ok && !slices.Contains(asked, name) {
				continue
			}
			if asked, ok := r.query["architecture"]; ok && architecture != nil && !slices.Contains(asked, architecture(x)) {
				continue
			}
			chosen = append(chosen, x)
		}
		return page(key, chosen, r.query)
	}
}

func found[T any](key string, all []T, id func(T) int64) answer {
	return func(r *request) (int, any, error) {
		for _, x := range all {
			if id(x) == r.id {
				return http.StatusOK, map[string]any{key: x}, nil
			}
		}
		return 0, nil, notFound(key, r.id)
	}
}

// sorted are the values of a map in the order of their ids.
func sorted[T any](m map[int64]T) []T {
	var all []T
	for _, id := range slices.Sorted(maps.Keys(m)) {
		all = append(all, m[id])
	}
	return all
}

// labelled says whether a label selector of the form a,!b,c=d,e!=f fits.
func labelled(labels map[string]string, selector string) bool {
	for term := range strings.SplitSeq(selector, ",") {
		term = strings.TrimSpace(term)
		key, want, compared := strings.Cut(strings.ReplaceAll(term, "==", "="), "=")
		differs := strings.HasSuffix(key, "!")
		value, has := labels[strings.Trim(key, "!")]
		switch {
		case term == "":
		case !compared && has == strings.HasPrefix(key, "!"):
			return false
		case compared && (has && value == want) == differs:
			return false
		}
	}
	return true
}

// background is what actions run with: they outlive the request that begins them.
var background = context.Background()
