package ssh_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins/internal/calltest"
	"infra/builtins/internal/sshdtest"
	"infra/builtins/ssh"
	"infra/runtime"
	"infra/runtime/remote"
)

// pubs are the server's key and one of somebody else.
func (b *bench) pubs(t *testing.T) (own, other string) {
	t.Helper()
	var pubs [2]string
	for i, name := range []string{"host.pub", "user.pub"} {
		text, err := os.ReadFile(filepath.Join(b.server.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		pubs[i] = string(text)
	}
	return pubs[0], pubs[1]
}

// doorAt is a door to the server by an address that the ssh configuration has
// not, which a plan knows as address.
func (b *bench) doorAt(t *testing.T, dry bool) (d *calltest.Door, said *[]string) {
	t.Helper()
	d, said = b.door(dry), new([]string)
	own, other := b.pubs(t)
	d.Names["address"] = starlark.String(fmt.Sprintf("127.0.0.1:%d", b.server.Port))
	d.Names["own"], d.Names["other"] = starlark.String(own), starlark.String(other)
	file := "plans/vps.star"
	d.Names["later"] = runtime.Unknown{Op: "terraform.apply of hcloud_server.mac", Pos: syntax.MakePosition(&file, 7, 1), Shape: runtime.StringShape}
	d.Context = runtime.WithPrint(t.Context(), func(text string) { *said = append(*said, text) })
	return d, said
}

func TestAtAnAddress(t *testing.T) {
	b := newBench(t)
	config, err := os.ReadFile(b.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	gone := strings.Replace(string(config), "HostName 127.0.0.1", "HostName gone.invalid", 1)
	b.write(t, "ssh_config", gone, 0o600)
	own, _ := b.pubs(t)
	known := filepath.Join(b.server.Dir, "known_hosts")
	if err := os.WriteFile(known, fmt.Appendf(nil, "[gone.invalid]:%d %s", b.server.Port, own), 0o600); err != nil {
		t.Fatal(err)
	}
	b.pool = remote.NewPool(remote.Config{SSHConfig: filepath.Join(b.root, "ssh_config"), Contacts: filepath.Join(b.root, ".infra", "known_hosts")})
	t.Cleanup(func() { b.pool.Close() })

	for _, tt := range []struct{ code, want, said string }{
		{`ssh.run(ssh.at(mac, address), ["true"])`, "", ""},
		{`ssh.wait(ssh.at(mac, address, key = own), timeout = "1m")`, "", ""},
		{`ssh.wait(ssh.at(mac, address, key = other), timeout = "1m")`, "IS NOT THE PINNED ONE", ""},
		{`ssh.reachable(ssh.at(mac, address, key = other))`, "IS NOT THE PINNED ONE", ""},
		{`x = {False: "it is not there"}[ssh.reachable(ssh.at(mac, "127.0.0.1:1", key = own))]`, "", ""},
		{`ssh.put(ssh.at(mac, address, trust = "first-use", instance = "1"), dir + "/f", "x")`, "", "first contact with mac"},
		{`ssh.run(ssh.at(mac, address, trust = "first-use", instance = "1"), ["true"])`, "", ""},
		{`ssh.run(ssh.at(mac, address, trust = "first-use", instance = "2"), ["true"])`, "", "it is the key of before"},
	} {
		d, said := b.doorAt(t, false)
		_, err := d.Run(t, ssh.Specs(b.pool, b.root), tt.code)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.code, err)
		}
		if told := strings.Join(*said, "\n"); (told == "") != (tt.said == "") || !strings.Contains(told, tt.said) {
			t.Errorf("%s said %q", tt.code, told)
		}
		if op := d.Ops[0]; op.Host != "mac" || op.At == nil || op.Needs != nil {
			t.Errorf("%s: %s at %v, needs %v", tt.code, op.Host, op.At, op.Needs)
		}
	}
}

// While nothing listens it is waited for, however wrong the key would be.
func TestWaitAtAnAddress(t *testing.T) {
	server := sshdtest.Start(t, "mac", false)
	b := &bench{server: server, root: t.TempDir()}
	b.connect(t)
	server.Stop()
	d, _ := b.doorAt(t, false)
	_, err := d.Run(t, ssh.Specs(b.pool, b.root), `ssh.wait(ssh.at(mac, address, key = own), timeout = "300ms", every = "100ms")`)
	if err == nil || !strings.Contains(err.Error(), "not reachable for 300ms") || !strings.Contains(d.Log.String(), "connection refused") {
		t.Errorf("%v; log %q", err, d.Log.String())
	}
}

func TestAtErrors(t *testing.T) {
	b := newBench(t)
	for code, want := range map[string]string{
		`ssh.at(mac, "a b")`:                            `ssh.at: address: "a b" is no address`,
		`ssh.at(mac, 1)`:                                "want a string, got int",
		`ssh.at(mac, token)`:                            "want a string, got ‹secret token›",
		`ssh.at(mac, address, key = "")`:                "ssh.at: key: there is no public key",
		`ssh.at(mac, address, key = "ssh-ed25519 AAA")`: "is no public key",
		`ssh.at(mac, address, trust = "none")`:          `"none" is no trust`,
		`ssh.at(mac, later, trust = "none")`:            `"none" is no trust`,
		`ssh.at("mac", address)`:                        "want a host, got string",
	} {
		d, _ := b.doorAt(t, false)
		if _, err := d.Run(t, ssh.Specs(b.pool, b.root), code); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", code, err, want)
		}
	}
}

// A host at an address that is not known yet is that host, and nothing
// connects to it.
func TestAtAnUnknownAddress(t *testing.T) {
	b := newBench(t)
	const mark = "(known after terraform.apply of hcloud_server.mac, plans/vps.star:7)"
	for _, code := range []string{
		`h = ssh.at(mac, later, trust = "first-use", instance = later)`, `h = ssh.at(mac, address, key = later)`, `h = ssh.at(mac, address, instance = later)`,
	} {
		d, _ := b.doorAt(t, true)
		globals := d.Must(t, ssh.Specs(b.pool, b.root), code)
		h, ok := globals["h"].(*runtime.Host)
		if !ok || h.Name != "mac" || h.Pending() == nil || h.Pending().String() != mark {
			t.Errorf("%s: %v", code, globals["h"])
			continue
		}
		if _, err := runtime.Encode(h); err != nil {
			t.Errorf("%s: a step cannot return it: %v", code, err)
		}
		if err := b.pool.Reach(context.Background(), h); err == nil || !strings.Contains(err.Error(), mark) {
			t.Errorf("%s: reached: %v", code, err)
		}
	}
	d, _ := b.doorAt(t, true)
	d.Must(t, ssh.Specs(b.pool, b.root), `
h = ssh.at(ssh.at(mac, later), address)
if h.address != address or h != mac: fail
`)
}
