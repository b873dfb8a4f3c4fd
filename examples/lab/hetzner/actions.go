package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

type action struct {
	ID        int64        `json:"id"`
	Command   string       `json:"command"`
	Status    string       `json:"status"`
	Progress  int          `json:"progress"`
	Started   time.Time    `json:"started"`
	Finished  *time.Time   `json:"finished"`
	Error     *actionError `json:"error"`
	Resources []actedOn    `json:"resources"`
}

type actionError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type actedOn struct {
	ID   int64  `json:"id"`
	Type string `json:"type"`
}

// A job is an action with what only the stand-in knows of it. It is begun again
// where a restart found it unfinished.
type job struct {
	Action action  `json:"action"`
	Slow   float64 `json:"slow,omitempty"` // how many seconds it takes more
	Fails  string  `json:"fails,omitempty"`
	Type   string  `json:"type,omitempty"` // the server's next one
}

func (j *job) server() int64 { return j.Action.Resources[0].ID }

// least is what an action takes at least, so that whoever does not wait for it
// is found out.
const least = 50 * time.Millisecond

// start begins actions of a server, one after the other.
func (a *api) start(server int64, f fault, commands ...string) []*job {
	var jobs []*job
	for _, command := range commands {
		j := &job{Slow: f.Slow, Fails: f.Action, Action: action{
			ID: a.newID(), Command: command, Status: "running", Started: now(), Resources: []actedOn{{server, "server"}},
		}}
		f = fault{} // it happens to the first
		a.state.Actions[j.Action.ID] = j
		jobs = append(jobs, j)
	}
	a.tasks.Go(func() {
		for _, j := range jobs {
			a.perform(j)
		}
	})
	return jobs
}

// goOn begins again what a restart interrupted.
func (a *api) goOn() {
	a.mu.Lock()
	defer a.mu.Unlock()
	unfinished := map[int64][]*job{}
	for _, j := range sorted(a.state.Actions) {
		if j.Action.Status == "running" {
			unfinished[j.server()] = append(unfinished[j.server()], j)
		}
	}
	for _, jobs := range unfinished {
		a.tasks.Go(func() {
			for _, j := range jobs {
				a.perform(j)
			}
		})
	}
}

// perform carries out an action, and notes how it ended.
func (a *api) perform(j *job) {
	time.Sleep(least + time.Duration(j.Slow*float64(time.Second)))
	a.mu.Lock()
	m, there := a.state.Servers[j.server()]
	var name string
	var keys []string
	if there {
		name, keys = m.Server.Name, slices.Clone(m.Keys)
	}
	a.mu.Unlock()
	var err error
	switch {
	case j.Fails != "":
	case there:
		err = a.work(j, name, keys)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	ended := now()
	j.Action.Finished, j.Action.Progress, j.Action.Status = &ended, 100, "success"
	switch {
	case j.Fails != "":
		j.Action.Status, j.Action.Error = "error", &actionError{j.Fails, "the lab was told to say so"}
	case err != nil:
		j.Action.Status, j.Action.Error = "error", &actionError{"server_error", err.Error()}
	case there:
		a.worked(j, m)
	}
	if err := a.save(); err != nil {
		a.log.Print("save: ", err)
	}
	a.log.Printf("action %d %s of %s: %s %v", j.Action.ID, j.Action.Command, name, j.Action.Status, err)
}

// work is what an action does to the host.
func (a *api) work(j *job, name string, keys []string) error {
	switch j.Action.Command {
	case "create_server", "rebuild_server":
		return a.host.create(background, name, keys)
	case "delete_server":
		return a.host.remove(name)
	case "stop_server", "shutdown_server":
		return a.host.power(background, name, false)
	case "start_server", "change_server_type": // the API starts it again, and the provider relies on that
		return a.host.power(background, name, true)
	case "reset_server", "reboot_server":
		if err := a.host.power(background, name, false); err != nil {
			return err
		}
		return a.host.power(background, name, true)
	}
	return nil
}

// worked is what an action did to what the API says of the server.
func (a *api) worked(j *job, m *machine) {
	switch j.Action.Command {
	case "delete_server":
		delete(a.state.Servers, m.Server.ID)
	case "stop_server", "shutdown_server":
		m.Server.Status = "off"
	case "start_server", "reset_server", "reboot_server", "rebuild_server":
		m.Server.Status = "running"
	case "change_server_type":
		m.Server.Type, _ = typeOf(idOrName{name: j.Type})
		m.Server.Status = "running"
	}
}

// busy says whether an action of a server is running.
func (a *api) busy(server int64) bool {
	for _, j := range a.state.Actions {
		if j.server() == server && j.Action.Status == "running" {
			return true
		}
	}
	return false
}

func (a *api) listActions(r *request) (int, any, error) {
	var chosen []action
	for _, j := range sorted(a.state.Actions) {
		ids, status := r.query["id"], r.query["status"]
		if ids != nil && !slices.Contains(ids, strconv.FormatInt(j.Action.ID, 10)) || status != nil && !slices.Contains(status, j.Action.Status) {
			continue
		}
		chosen = append(chosen, j.Action)
	}
	return page("actions", chosen, r.query)
}

func (a *api) getAction(r *request) (int, any, error) {
	j, ok := a.state.Actions[r.id]
	if !ok {
		return 0, nil, notFound("action", r.id)
	}
	return http.StatusOK, map[string]any{"action": j.Action}, nil
}

func locked(m *machine) error {
	return problem{http.StatusLocked, "locked", fmt.Sprintf("server %s is locked: an action is running", m.Server.Name), nil}
}
