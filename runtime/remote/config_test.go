package remote

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"infra/runtime"
)

func TestEndpoint(t *testing.T) {
	me, err := login()
	must(t, err)
	dir := t.TempDir()
	config := filepath.Join(dir, "config")
	must(t, os.WriteFile(config, []byte(`
Host web
  HostName %h.example.org
  User deploy
  Port 2222
  IdentityFile ~/.ssh/key_%h
  IdentityFile "/keys/with space"
  CertificateFile /certs/%r.pub
  IdentityAgent none
  IdentitiesOnly yes
  UserKnownHostsFile /known/%h ~/known2
  GlobalKnownHostsFile none
  RevokedHostKeys /revoked
  HostKeyAlias alias
  ConnectTimeout 7
  ProxyCommand nc -X 5 %h %p %%
Host via
  ProxyJump a@b:33,c,ssh://d:44
Host none
  ProxyCommand none
  IdentityFile none
Match originalhost web exec "true"
  IdentityFile /keys/matched
`), 0o600))
	t.Setenv("SSH_AUTH_SOCK", "/agent")
	p := NewPool(Config{SSHConfig: config})
	defer p.Close()
	for destination, want := range map[string]Endpoint{
		"web": {User: "deploy", HostName: "web.example.org", Port: 2222, HostKeyAlias: "alias",
			IdentityFiles: []string{me.HomeDir + "/.ssh/key_web.example.org", "/keys/with space", "/keys/matched"}, Certificates: []string{"/certs/deploy.pub"},
			IdentitiesOnly: true, KnownHosts: []string{"/known/web.example.org", me.HomeDir + "/known2"}, RevokedHostKeys: "/revoked",
			ProxyCommand: "nc -X 5 web.example.org 2222 %", ConnectTimeout: 7 * time.Second},
		"ssh://root@none:44": {User: "root", HostName: "none", Port: 44, IdentityAgent: "/agent", ConnectTimeout: 10 * time.Second},
		"me@none":            {User: "me", HostName: "none", Port: 22, IdentityAgent: "/agent", ConnectTimeout: 10 * time.Second},
		"ssh://root@none?ConnectTimeout=7&IdentitiesOnly=yes&Port=5": {User: "root", HostName: "none", Port: 5, IdentityAgent: "/agent", IdentitiesOnly: true, ConnectTimeout: 7 * time.Second},
		"ssh://x@[fe80::1]:5": {User: "x", HostName: "fe80::1", Port: 5, IdentityAgent: "/agent", ConnectTimeout: 10 * time.Second},
	} {
		got, err := p.Endpoint(t.Context(), &runtime.Host{Name: "n", SSH: destination})
		want.Destination = destination
		ignored := cmpopts.IgnoreFields(Endpoint{}, "IdentityFiles", "KnownHosts", "jump", "as", "base")
		if destination == "web" {
			ignored = cmpopts.IgnoreFields(Endpoint{}, "jump", "as", "base")
		}
		if err != nil || !cmp.Equal(got, want, ignored) {
			t.Errorf("%s: %v\n%s", destination, err, cmp.Diff(want, got, ignored))
		}
	}
	e, err := p.lookUp(t.Context(), "via")
	if want := []string{"ssh://a@b:33", "c", "ssh://d:44"}; err != nil || !cmp.Equal(e.ProxyJump, want) {
		t.Errorf("hops %q, %v", e.ProxyJump, err)
	}
}

func TestEndpointIsRefused(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	must(t, os.WriteFile(config, []byte("Host bad\n Nonsense yes\nHost token\n IdentityFile /x/%z\n"), 0o600))
	p := NewPool(Config{SSHConfig: config})
	defer p.Close()
	for destination, words := range map[string]string{
		"bad": "ssh cannot read its configuration for bad|nonsense", "two words": "is no ssh destination", "-oProxyCommand=x": "is no ssh destination",
	} {
		_, err := p.Endpoint(t.Context(), &runtime.Host{Name: destination})
		complains(t, err, words, "")
	}
}

func TestProxyCommandIsNoShellFor(t *testing.T) {
	for _, name := range []string{"$(id)", "`id`", "a;b", "-x", "a|b", "a'b"} {
		_, err := newEndpoint(name, map[string][]string{"user": {"u"}, "hostname": {name}, "port": {"22"}, "proxycommand": {"nc %h %p"}}, Config{})
		complains(t, err, "cannot stand in a ProxyCommand", "")
	}
}

func TestEndpointString(t *testing.T) {
	for want, e := range map[string]Endpoint{
		"root@10.0.0.1:22":          {Destination: "root@10.0.0.1", User: "root", HostName: "10.0.0.1", Port: 22},
		"root@a:2222":               {Destination: "ssh://root@a:2222", User: "root", HostName: "a", Port: 2222},
		"web (root@10.0.0.1:22)":    {Destination: "web", User: "root", HostName: "10.0.0.1", Port: 22},
		"me@[fe80::1]:22":           {User: "me", HostName: "fe80::1", Port: 22},
		"other@web (root@a.b:2222)": {Destination: "other@web", User: "root", HostName: "a.b", Port: 2222},
	} {
		if got := e.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Without ssh on PATH the file is read here, to the same end.
func TestEndpointWithoutSSH(t *testing.T) {
	me, err := login()
	must(t, err)
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		must(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	included := write("included", "Host web\n Port 2222\n")
	config := write("config", "Include "+included+`
Host web
  HostName %h.example.org
  User deploy
  IdentityFile /keys/one
  IdentityFile /keys/%r
  ProxyJump hop
  UserKnownHostsFile /known
Match all
  ConnectTimeout 7
Host *
  Port 99
`)
	with := NewPool(Config{SSHConfig: config})
	defer with.Close()
	want, err := with.lookUp(t.Context(), "web")
	must(t, err)
	t.Setenv("PATH", dir)
	without := NewPool(Config{SSHConfig: config})
	defer without.Close()
	got, err := without.lookUp(t.Context(), "web")
	if err != nil || !cmp.Equal(got, want, cmpopts.IgnoreUnexported(Endpoint{})) {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got, cmpopts.IgnoreUnexported(Endpoint{})))
	}
	got, err = without.lookUp(t.Context(), "ssh://x@[::1]:7")
	if err != nil || got.User != "x" || got.HostName != "::1" || got.Port != 7 {
		t.Errorf("got %v, %v", got, err)
	}
	got, err = without.lookUp(t.Context(), "ssh://x@web?ProxyJump=other&ConnectTimeout=3")
	if err != nil || got.Port != 2222 || got.ConnectTimeout != 3*time.Second || !cmp.Equal(got.ProxyJump, []string{"other"}) {
		t.Errorf("got %v, %v", got, err)
	}
	got, err = without.lookUp(t.Context(), "elsewhere")
	if err != nil || got.User != me.Username || got.Port != 99 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, line := range []string{`Match exec "false"`, "Match user x", "Match host a exec true", "match originalhost a", "Match host=a user x", "Match host a", "Match !host a"} {
		nested := write("nested", line+"\n User evil\n")
		for _, file := range []string{nested, write("outer", "Include "+nested+"\n")} {
			_, err := lookUpWithoutSSH(Config{SSHConfig: file}, "web")
			complains(t, err, "nested says|cannot be read without ssh", "install the ssh client")
		}
	}
	loop := filepath.Join(dir, "loop")
	write("loop", "Include "+loop+"\n")
	_, err = lookUpWithoutSSH(Config{SSHConfig: loop}, "web")
	complains(t, err, "nested too deeply", "")
}

func FuzzParseEndpoint(f *testing.F) {
	f.Add("a", "user u\nhostname h\nport 22\nidentityfile ~/.ssh/%h\nproxyjump a,b:1\nuserknownhostsfile \"a b\" c\nproxycommand nc %h\n")
	f.Add("ssh://u@h:1", "user\nhostname \nport x\nconnecttimeout none\n\n \x00")
	f.Fuzz(func(t *testing.T, destination, output string) {
		e, err := newEndpoint(destination, parseOptions(output), Config{}.withDefaults())
		if err != nil {
			return
		}
		if e.User == "" || e.HostName == "" || e.Port < 1 || e.Port > 65535 || e.ConnectTimeout <= 0 {
			t.Errorf("%q gives %v", output, e)
		}
		if e.ProxyCommand != "" && len(e.ProxyJump) > 0 {
			t.Errorf("%q gives two ways", output)
		}
		if strings.Contains(e.IdentityAgent, "\n") {
			t.Errorf("%q gives a socket %q", output, e.IdentityAgent)
		}
	})
}
