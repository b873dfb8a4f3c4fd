package main

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A server has the JSON that the API has.
type server struct {
	ID              int64             `json:"id"`
	Name            string            `json:"name"`
	Status          string            `json:"status"`
	Created         time.Time         `json:"created"`
	PublicNet       publicNet         `json:"public_net"`
	PrivateNet      []string          `json:"private_net"`
	Type            serverType        `json:"server_type"`
	IncludedTraffic int64             `json:"included_traffic"`
	OutgoingTraffic int64             `json:"outgoing_traffic"`
	IngoingTraffic  int64             `json:"ingoing_traffic"`
	BackupWindow    *string           `json:"backup_window"`
	RescueEnabled   bool              `json:"rescue_enabled"`
	ISO             *struct{}         `json:"iso"`
	Locked          bool              `json:"locked"`
	Location        location          `json:"location"`
	Image           image             `json:"image"`
	Protection      protection        `json:"protection"`
	Labels          map[string]string `json:"labels"`
	Volumes         []int64           `json:"volumes"`
	DiskSize        int               `json:"primary_disk_size"`
	PlacementGroup  *struct{}         `json:"placement_group"`
	LoadBalancers   []int64           `json:"load_balancers"`
}

type protection struct {
	Delete  bool `json:"delete"`
	Rebuild bool `json:"rebuild"`
}

type publicNet struct {
	IPv4        ipv4    `json:"ipv4"`
	IPv6        ipv6    `json:"ipv6"`
	FloatingIPs []int64 `json:"floating_ips"`
	Firewalls   []int64 `json:"firewalls"`
}

type ipv4 struct {
	ID      int64  `json:"id"`
	IP      string `json:"ip"`
	Blocked bool   `json:"blocked"`
	DNSPtr  string `json:"dns_ptr"`
}

type ipv6 struct {
	ID      int64    `json:"id"`
	IP      string   `json:"ip"`
	Blocked bool     `json:"blocked"`
	DNSPtr  []string `json:"dns_ptr"`
}

// A machine is a server with what only the stand-in knows of it.
type machine struct {
	Server server   `json:"server"`
	Keys   []string `json:"keys"` // public ones, which let root in
}

func (a *api) listServers(r *request) (int, any, error) {
	var chosen []server
	for _, m := range sorted(a.state.Servers) {
		if status, ok := r.query["status"]; fits(r, m.Server.Name, m.Server.Labels) && (!ok || slices.Contains(status, m.Server.Status)) {
			chosen = append(chosen, a.shown(m))
		}
	}
	return page("servers", chosen, r.query)
}

// shown is the server as the API tells of it now.
func (a *api) shown(m *machine) server {
	s := m.Server
	s.Locked = a.busy(s.ID)
	return s
}

type wanted struct {
	Name     string            `json:"name"`
	Type     idOrName          `json:"server_type"`
	Image    idOrName          `json:"image"`
	Location idOrName          `json:"location"`
	SSHKeys  []int64           `json:"ssh_keys"`
	Labels   map[string]string `json:"labels"`
	Start    *bool             `json:"start_after_create"`
}

var hostName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?$`)

func (a *api) createServer(r *request) (int, any, error) {
	var w wanted
	if err := r.into(&w); err != nil {
		return 0, nil, err
	}
	m, err := a.build(w)
	if err != nil {
		return 0, nil, err
	}
	a.state.Servers[m.Server.ID] = m
	commands := []string{"create_server", "start_server"}
	if w.Start != nil && !*w.Start {
		commands[1] = "stop_server"
	}
	jobs := a.start(m.Server.ID, r.fault, commands...)
	return http.StatusCreated, map[string]any{
		"server": a.shown(m), "action": jobs[0].Action, "next_actions": []action{jobs[1].Action}, "root_password": nil,
	}, nil
}

// build makes the server that is wanted, or says why that cannot be.
func (a *api) build(w wanted) (*machine, error) {
	if !hostName.MatchString(w.Name) {
		return nil, invalid("name", "must be a valid hostname as per RFC 1123")
	}
	for _, m := range a.state.Servers {
		if m.Server.Name == w.Name {
			return nil, problem{http.StatusConflict, "uniqueness_error", "server name is already used", map[string]string{"name": "is already used"}}
		}
	}
	t, ok := typeOf(w.Type)
	if !ok {
		return nil, invalid("server_type", "is unknown")
	}
	i, ok := imageOf(w.Image, t.Architecture)
	if !ok {
		return nil, invalid("image", "is unknown, or has another architecture than the server type")
	}
	if w.Location == (idOrName{}) {
		w.Location.name = locations[0].Name
	}
	l, ok := locationOf(w.Location)
	if !ok {
		return nil, invalid("location", "is unknown")
	}
	var keys []string
	for _, id := range w.SSHKeys {
		k, err := a.key(id)
		if err != nil {
			return nil, err
		}
		keys = append(keys, strings.TrimSpace(k.PublicKey))
	}
	if w.Labels == nil {
		w.Labels = map[string]string{}
	}
	s := server{
		ID: a.newID(), Name: w.Name, Status: "initializing", Created: now(), Type: t, Image: i, Location: l, Labels: w.Labels, DiskSize: t.Disk,
		IncludedTraffic: 20 << 40, PrivateNet: []string{}, Volumes: []int64{}, LoadBalancers: []int64{},
	}
	address := a.host.address(s.Name)
	if address == "" {
		address = a.host.nowhere(s.ID)
	}
	s.PublicNet = publicNet{
		IPv4:        ipv4{ID: a.newID(), IP: address, DNSPtr: "static." + address},
		IPv6:        ipv6{ID: a.newID(), IP: fmt.Sprintf("2001:db8:%x::/64", s.ID), DNSPtr: []string{}},
		FloatingIPs: []int64{}, Firewalls: []int64{},
	}
	return &machine{s, keys}, nil
}

func (a *api) server(id int64) (*machine, error) {
	if m, ok := a.state.Servers[id]; ok {
		return m, nil
	}
	return nil, notFound("server", id)
}

func (a *api) getServer(r *request) (int, any, error) {
	m, err := a.server(r.id)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, map[string]any{"server": a.shown(m)}, nil
}

func (a *api) changeServer(r *request) (int, any, error) {
	m, err := a.server(r.id)
	if err != nil {
		return 0, nil, err
	}
	var c change
	if err := r.into(&c); err != nil {
		return 0, nil, err
	}
	for _, other := range a.state.Servers {
		if c.Name != nil && other != m && other.Server.Name == *c.Name {
			return 0, nil, problem{http.StatusConflict, "uniqueness_error", "server name is already used", nil}
		}
	}
	if c.Name != nil && *c.Name != m.Server.Name {
		if a.host.address(m.Server.Name) != "" || a.host.address(*c.Name) != "" {
			return 0, nil, problem{http.StatusConflict, "conflict", "a host of the lab keeps its name", nil}
		}
		m.Server.Name = *c.Name
	}
	if c.Labels != nil {
		m.Server.Labels = c.Labels
	}
	return http.StatusOK, map[string]any{"server": a.shown(m)}, nil
}

func (a *api) deleteServer(r *request) (int, any, error) {
	m, err := a.server(r.id)
	if err != nil {
		return 0, nil, err
	}
	if m.Server.Protection.Delete {
		return 0, nil, problem{http.StatusLocked, "protected", "server deletion is protected", nil}
	}
	if a.busy(r.id) {
		return 0, nil, locked(m)
	}
	m.Server.Status = "deleting"
	return http.StatusOK, map[string]any{"action": a.start(r.id, r.fault, "delete_server")[0].Action}, nil
}

// asked are the commands of the actions that can be asked for by name.
var asked = map[string]string{
	"poweroff": "stop_server", "shutdown": "shutdown_server", "poweron": "start_server", "reset": "reset_server", "reboot": "reboot_server",
	"rebuild": "rebuild_server", "change_type": "change_server_type", "change_protection": "change_protection",
	"enable_backup": "enable_backup", "disable_backup": "disable_backup",
}

func (a *api) actOnServer(r *request) (int, any, error) {
	m, err := a.server(r.id)
	if err != nil {
		return 0, nil, err
	}
	command, ok := asked[r.what]
	if !ok {
		return 0, nil, problem{http.StatusNotFound, "not_found", "the lab's stand-in has no action " + r.what, nil}
	}
	if a.busy(r.id) {
		return 0, nil, locked(m)
	}
	nextType, err := m.prepare(r)
	if err != nil {
		return 0, nil, err
	}
	j := a.start(r.id, r.fault, command)[0]
	j.Type = nextType
	return http.StatusCreated, map[string]any{"action": j.Action, "root_password": nil}, nil
}

// prepare notes what the body of an action asks for. It returns the type that
// the server is to have.
func (m *machine) prepare(r *request) (nextType string, err error) {
	var body struct {
		Type    idOrName `json:"server_type"`
		Disk    bool     `json:"upgrade_disk"`
		Image   idOrName `json:"image"`
		Delete  *bool    `json:"delete"`
		Rebuild *bool    `json:"rebuild"`
	}
	if len(r.body) > 0 {
		if err := r.into(&body); err != nil {
			return "", err
		}
	}
	switch r.what {
	case "change_type":
		t, ok := typeOf(body.Type)
		if !ok || t.Architecture != m.Server.Type.Architecture {
			return "", invalid("server_type", "is unknown, or has another architecture")
		}
		if m.Server.Status != "off" {
			return "", problem{http.StatusUnprocessableEntity, "server_not_stopped", "server must be stopped for this action", nil}
		}
		if t.Disk < m.Server.DiskSize {
			return "", problem{http.StatusUnprocessableEntity, "invalid_server_type", "the disk of the server is larger than that of the server type", nil}
		}
		if body.Disk {
			m.Server.DiskSize = t.Disk
		}
		return t.Name, nil
	case "rebuild":
		i, ok := imageOf(body.Image, m.Server.Type.Architecture)
		if !ok {
			return "", invalid("image", "is unknown")
		}
		if m.Server.Protection.Rebuild {
			return "", problem{http.StatusLocked, "protected", "server rebuild is protected", nil}
		}
		m.Server.Image = i
	case "change_protection":
		if body.Delete != nil {
			m.Server.Protection.Delete = *body.Delete
		}
		if body.Rebuild != nil {
			m.Server.Protection.Rebuild = *body.Rebuild
		}
	case "enable_backup":
		window := "22-02"
		m.Server.BackupWindow = &window
	case "disable_backup":
		m.Server.BackupWindow = nil
	}
	return "", nil
}
