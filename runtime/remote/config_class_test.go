package remote

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// configNames are the names of random configurations: some are parts of others, of
// keywords and of file names.
var configNames = []string{"web1", "web2", "web11", "db", "db.web1", "h", "id", "a", "aa", "www.example.org", "www", "eb", "10.0.0.1", "10.0.0.2", "10.0.0.12", "127.1", "x_y", "jump"}

// A configMaker makes up ssh configurations. One that is tame tells destinations
// apart as people do, a wild one in every way there is, others in odd ways.
type configMaker struct {
	*rand.Rand
	dir        string
	tame, wild bool
}

func (m *configMaker) one(of ...string) string { return of[m.IntN(len(of))] }

func (m *configMaker) name() string {
	if m.tame {
		return m.one("web1", "web2", "web3", "web11", "db.example.org", "db2.example.org", "10.0.0.1", "10.0.0.2", "jump")
	}
	return m.one(configNames...)
}

func (m *configMaker) pattern() string {
	if m.tame {
		return m.one("web*", "*", "*", "10.0.0.*", "*.org", "jump", "!jump", "!*.2", "web? db*", "unix/* vsock%*", "web1")
	}
	p := m.one(m.name(), m.name(), "web*", "*", "w??1", "10.0.0.*", "*.1", "**1", "*b*", "?", "*.example.org", "unix/*", "vsock%*", "WEB1", "Db*", "fe80::*")
	if m.IntN(5) == 0 {
		p = "!" + p
	}
	if m.wild && m.IntN(30) == 0 {
		p = m.one(`"`+p+`"`, "'"+p+"'", p+`\ x`, `"`+p, "w\u00e9b*", "!!web1", "web1,web2", "=web1")
	}
	return p
}

// line is an option's, in one of the ways to write it.
func (m *configMaker) line(keyword, value string) string {
	switch m.IntN(8) {
	case 0:
		keyword = strings.ToUpper(keyword)
	case 1:
		keyword = strings.ToLower(keyword)
	}
	indent := m.one("", "", " ", "\t", "   \t ")
	between := m.one(" ", " ", " ", "\t", "=", " = ", "  ", "\t =", "= ")
	end := m.one("\n", "\n", "\n", "\r\n", " \t\n", " # a comment\n", "\n\n", "\n # Host *\n")
	if m.wild && m.IntN(60) == 0 {
		indent, between = m.one(" = ", "\f", "\"", indent), m.one(" == ", "\"", "\r", "\x00", between)
	}
	return indent + keyword + between + value + end
}

// option is a line of those that change something.
func (m *configMaker) option() string {
	values := map[string][]string{
		"User": {"root", "deploy", "web1"}, "Port": {"22", "2222", "10"},
		"HostName":     {"%h", "%h.example.org", "a%h", "WWW.%h", "10.0.0.9", "web1", "www.Example.org", "%h.%h", "x%%h", "%n", "a"},
		"IdentityFile": {"~/.ssh/%h", "/keys/%n_%r", "~/.ssh/id_rsa", `"/with space/%h"`, "none", "/keys/web1"}, "CertificateFile": {"/c/%h-cert.pub"},
		"UserKnownHostsFile": {"/known/%h ~/k", "/k1 \"/k 2\""}, "GlobalKnownHostsFile": {"none", "/etc/k"}, "RevokedHostKeys": {"/revoked"},
		"HostKeyAlias": {"alias", "%h", "web1", "WEB2"}, "IdentityAgent": {"none", "/agent/%h", "SSH_AUTH_SOCK"}, "IdentitiesOnly": {"yes", "no"},
		"ProxyCommand": {"nc %h %p", "none", "nc -x %n:%p %h"}, "ProxyJump": {"jump", "u@web1:23,db", "none", "www.example.org"},
		"ControlPath": {"/c/%C", "~/%r@%h"}, "RemoteCommand": {"echo %h %C"}, "ConnectTimeout": {"7"}, "LogLevel": {"QUIET"}, "SetEnv": {"A=b"},
	}
	if m.tame {
		values["HostName"] = []string{"%h", "%h.example.org", "10.0.0.9"}
		values["HostKeyAlias"], values["IdentityFile"] = []string{"alias"}, []string{"~/.ssh/%h", "/keys/%n_%r", "~/.ssh/id_rsa"}
	}
	keywords := slices.Sorted(func(yield func(string) bool) {
		for k := range values {
			if !yield(k) {
				return
			}
		}
	})
	keyword := m.one(keywords...)
	if m.wild && m.IntN(25) == 0 {
		return m.one("CanonicalizeHostname yes\n", "CanonicalizeHostname no\n", "Nonsense 1\n", "IgnoreUnknown Nonsense\n", "HostName\n", "\"User\" quoted\n",
			"HostName \"%h\"\n", "HostName '%'h\n", "HostName w\"eb\"1\n", "User %h\n", "User ${HOME}\n", "Host\n", "Port x\n", "HostName %k\n")
	}
	return m.line(keyword, m.one(values[keyword]...))
}

// text is that of a file which may include those of a greater depth.
func (m *configMaker) text(depth int) string {
	var b strings.Builder
	for range m.IntN(7) + 1 {
		switch m.IntN(7) {
		case 0, 1, 2:
			patterns := m.pattern()
			for range m.IntN(3) {
				patterns += m.one(" ", "  ", "\t") + m.pattern()
			}
			b.WriteString(m.line("Host", patterns))
		case 3:
			b.WriteString(m.include(depth))
		case 4:
			if m.wild && m.IntN(3) == 0 {
				b.WriteString(m.line("Match", m.one("host "+m.pattern(), "originalhost web1", "exec \"test %h = web1\"", "user root", "canonical", "all", "final all", "final", "final host www.*", "!final all", "!all")))
			} else if m.IntN(3) == 0 {
				b.WriteString(m.line("Match", m.one("all", "final all")))
			}
		}
		for range m.IntN(3) {
			b.WriteString(m.option())
		}
	}
	return b.String()
}

func (m *configMaker) include(depth int) string {
	if depth == 2 {
		return ""
	}
	name := fmt.Sprintf("%d_%d", depth, m.Uint32())
	file := filepath.Join(m.dir, name)
	_ = os.WriteFile(file, []byte(m.text(depth+1)), 0o600)
	pattern := m.one(file, file, file+"*", file+" /nowhere", `"`+file+`"`)
	if m.wild && m.IntN(3) == 0 {
		_ = os.WriteFile(file+".web1", []byte(m.text(depth+1)), 0o600)
		pattern = m.one(file+".%h", file+".${USER}", file+".*")
	}
	return m.line("Include", pattern)
}

func (m *configMaker) destination() string {
	name := m.name()
	if m.tame {
		return m.one(name, name, name, "root@"+name, "ssh://"+name+":2200")
	}
	return m.one(name, name, name, "root@"+name, "web1@"+name, "ssh://"+name+":2200", "ssh://me@"+name, strings.ToUpper(name), "ssh://"+name+"?User=x")
}

// What is taken over from another destination's answer is what ssh itself would
// have answered. INFRA_TEST_CASES has more cases than usual, INFRA_TEST_SEED others.
func TestClassesAreThoseOfSSH(t *testing.T) {
	t.Parallel()
	cases, seed := 36, uint64(1)
	if n, err := strconv.Atoi(os.Getenv("INFRA_TEST_CASES")); err == nil {
		cases = n
	}
	if n, err := strconv.ParseUint(os.Getenv("INFRA_TEST_SEED"), 10, 64); err == nil {
		seed = n
	}
	taken, asked := 0, 0
	for i := range cases {
		m := &configMaker{Rand: rand.New(rand.NewPCG(seed, uint64(i))), dir: t.TempDir(), tame: i%3 == 0, wild: i%3 == 1}
		config := Config{SSHConfig: filepath.Join(m.dir, "config")}.withDefaults()
		must(t, os.WriteFile(config.SSHConfig, []byte(m.text(0)), 0o600))
		classes := &classes{age: hang}
		for range 14 {
			switch d, ok := parsePlain(m.destination()); {
			case !ok:
			case holdsAgainstSSH(t, classes, config, d):
				taken++
			default:
				asked++
			}
		}
	}
	t.Logf("%d answers were taken over, ssh was asked for %d", taken, asked)
	if taken < cases {
		t.Errorf("only %d answers were taken over in %d configurations", taken, cases)
	}
}

// holdsAgainstSSH looks d up and says whether the answer was taken over.
func holdsAgainstSSH(t *testing.T, c *classes, config Config, d plainDestination) (taken bool) {
	t.Helper()
	said, _, ok := c.find(d)
	if !ok {
		return false
	}
	if said != nil {
		if options, ok := said.of(d); ok {
			got, err := newEndpoint(d.destination, options, config)
			sameAsAsked(t, config, d.destination, got, err)
			return true
		}
	}
	got, err := c.learn(inTime(t), config, d)
	sameAsAsked(t, config, d.destination, got, err)
	return false
}

// What random configurations seldom have.
func TestClassesAreNotTooLarge(t *testing.T) {
	t.Parallel()
	for text, destinations := range map[string]string{
		"Match originalhost web1\n User x\n":                    "web1 web2",
		"Match final host web1\n User x\n":                      "web2 web1",
		"HostName 0%h\nMatch final all\n":                       "10.0.0.1 10.0.0.2 web1",
		"HostName 10.1\nMatch final all\n":                      "10.0.0.1 10.0.0.2",
		"HostName 0x%h\nMatch final all\n":                      "db1 db2",
		"HostName %hx1\nMatch final all\n":                      "10.0.0.0 10.0.1.0",
		"HostName %h.0.0.1\nMatch final all\n":                  "web1 10 010",
		"HostName web1\n":                                       "web1 web2",
		"HostName WEB1 # web2\n":                                "web1 web2 web3",
		"HostName we%h\n":                                       "wew web",
		"HostName %h.%h\n":                                      "web1 web2",
		"ProxyJump web1\n":                                      "web2 web1",
		"ProxyJump web1.example.org\nHostName %h.example.org\n": "web2 web1",
		"UserKnownHostsFile /known/%C\n":                        "web1 web2",
		"UserKnownHostsFile /known/%k\nHostKeyAlias x%%y\n":     "web1 web2",
		"Host \"web1\"\n User x\n":                              "web1 web2",
		"Host web2 # web1\n User x\n":                           "web1 web2 web3",
		"Host WEB1 !web3 web?\n User x\n":                       "web1 web2 web3",
		"CanonicalizeHostname always\nCanonicalDomains example.org\nCanonicalizeFallbackLocal yes\n": "10.0.0.1 127.1",
	} {
		config := Config{SSHConfig: filepath.Join(t.TempDir(), "config")}.withDefaults()
		must(t, os.WriteFile(config.SSHConfig, []byte(text), 0o600))
		classes := &classes{age: hang}
		for _, name := range strings.Fields(destinations) {
			holdsAgainstSSH(t, classes, config, plainDestination{destination: name, name: name})
		}
	}
}

func sameAsAsked(t *testing.T, config Config, destination string, got *Endpoint, err error) {
	t.Helper()
	want, wantErr := lookUp(inTime(t), config, destination)
	same := cmp.Equal(got, want, cmp.AllowUnexported(Endpoint{}))
	if fmt.Sprint(err) != fmt.Sprint(wantErr) || err == nil && !same {
		text, _ := exec.Command("sh", "-c", `cd "$1" && head -n 99 *`, "sh", filepath.Dir(config.SSHConfig)).Output()
		t.Errorf("%s: got %v, ssh says %v\n%s\n%s", destination, err, wantErr, cmp.Diff(want, got, cmp.AllowUnexported(Endpoint{})), text)
	}
}

// asksOf puts an ssh before the real one that notes for what it is asked.
func asksOf(t *testing.T) (asked func() []string) {
	t.Helper()
	real, err := exec.LookPath("ssh")
	must(t, err)
	dir := t.TempDir()
	notes := filepath.Join(dir, "notes")
	must(t, os.WriteFile(filepath.Join(dir, "ssh"), []byte("#!/bin/sh\necho \"$*\" >>"+notes+"\nexec "+real+" \"$@\"\n"), 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() []string {
		text, _ := os.ReadFile(notes)
		_ = os.Remove(notes)
		return slices.Collect(strings.Lines(string(text)))
	}
}

// lookUpAll looks destinations up at the same time.
func lookUpAll(t *testing.T, p *Pool, destinations []string, into map[string]*Endpoint) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, d := range destinations {
		all.Go(func() {
			e, err := p.lookUp(inTime(t), d)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			into[d] = e
		})
	}
	all.Wait()
}

func TestOneAnswerForAClass(t *testing.T) {
	dir := t.TempDir()
	config := Config{SSHConfig: filepath.Join(dir, "config")}
	included := filepath.Join(dir, "included")
	must(t, os.WriteFile(included, []byte("Host 10.1.*\n ProxyJump 10.0.0.9\n"), 0o600))
	must(t, os.WriteFile(config.SSHConfig, []byte("Include "+included+`
Host 10.*
  User root
  IdentityFile /keys/%h
  UserKnownHostsFile /known/%r
  HostKeyAlias alias
  ControlPath /c/%C
Host web* !webmail
  HostName %h.example.org
  ProxyCommand nc -x %n %h %p
Host Git* unix/* vsock%* # and no other
  Port 23
Match final all
`), 0o600))
	asked := asksOf(t)
	many := func(format string) (all []string) {
		for i := range 20 {
			all = append(all, fmt.Sprintf(format, i+10))
		}
		return all
	}
	for _, tt := range []struct {
		processes    int
		destinations []string
	}{
		{1, many("10.0.0.%d")}, {1, many("root@10.0.0.%d")}, {1, many("ssh://x@10.0.0.%d:2222")}, {1, many("web%d")},
		{4, slices.Concat(many("10.0.0.%d"), many("10.1.0.%d"), many("web%d"), many("db%d.example.org"))},
		{3, []string{"web1", "webmail", "web2", "git", "git2"}},
		{2, []string{"10.1.0.1", "10.1.0.2", "10.0.0.9"}},
		{20, many("[::%d]")}, {20, many("WEB%d")},
	} {
		p := NewPool(config)
		p.classes.age = hang
		got := map[string]*Endpoint{}
		lookUpAll(t, p, tt.destinations, got)
		if n := len(asked()); n != tt.processes {
			t.Errorf("%d processes for %.60q, and should be %d", n, tt.destinations, tt.processes)
		}
		for d, e := range got {
			sameAsAsked(t, p.config, d, e, nil)
		}
		must(t, p.Close())
		asked()
	}
}

// A configuration that changes counts for what is looked up from then on.
func TestClassesEndWithTheirFiles(t *testing.T) {
	dir := t.TempDir()
	config := Config{SSHConfig: filepath.Join(dir, "config")}
	write := func(text string) { must(t, os.WriteFile(config.SSHConfig, []byte(text), 0o600)) }
	write("Host *\n Port 22\n")
	p := NewPool(config)
	defer p.Close()
	for i, text := range []string{"", "Host *\n Port 3333\n", "Host web2\n Port 44\n", "Match host web3\n Port 55\n", "Host *\n Nonsense 1\n"} {
		if text != "" {
			write(text)
		}
		for _, name := range []string{"db", "web"} {
			d := name + fmt.Sprint(i)
			e, err := p.lookUp(inTime(t), d)
			sameAsAsked(t, p.config, d, e, err)
		}
	}
}

func FuzzConfigText(f *testing.F) {
	f.Add("Host web* !web1 # x\n\tHostName=%h\nMatch final all\nInclude a b\r\n", "web1")
	f.Add("Host \"a\nHost\n=\n Host = ***?* \x00", "")
	f.Add("HOST A*b !\nUser %h\nHostName a%%h", "aab")
	f.Fuzz(func(t *testing.T, text, name string) {
		var c configText
		if !c.read(text) {
			return
		}
		if len(c.class(name)) != (len(c.hosts)+7)/8 {
			t.Errorf("%q has a class of %q", text, c.class(name))
		}
		for _, patterns := range c.hosts {
			for _, p := range patterns {
				if !patternFits("*", p) || !patternFits(strings.Repeat("?", len(p)), p) || !patternFits(p+"*", strings.ReplaceAll(p, "*", "")) || patternFits(p+"?", "") {
					t.Errorf("%q does not fit itself", p)
				}
			}
		}
		if a := newAnswer(name, map[string][]string{"hostname": {"x" + name + "y"}, "user": {text}}); a != nil && name != "" {
			if options, ok := a.of(plainDestination{name: name}); ok && options["hostname"][0] != "x"+name+"y" {
				t.Errorf("%q became %q", name, options)
			}
		}
	})
}

func BenchmarkLookUp(b *testing.B) {
	config := Config{SSHConfig: filepath.Join(b.TempDir(), "config")}
	text := "Host 10.*\n User root\n Port 2222\n IdentityFile /keys/one\n IdentitiesOnly yes\n UserKnownHostsFile /known\n"
	if err := os.WriteFile(config.SSHConfig, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{50, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			before := cpuTime(b)
			for b.Loop() {
				p := NewPool(config)
				var all sync.WaitGroup
				for i := range n {
					all.Go(func() {
						if _, err := p.lookUp(b.Context(), fmt.Sprintf("10.0.%d.%d", i/250, i%250)); err != nil {
							b.Error(err)
						}
					})
				}
				all.Wait()
				p.Close()
			}
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// cpuTime is what this process and its children have used.
func cpuTime(b *testing.B) (used time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		used += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return used
}

func BenchmarkEndpointKey(b *testing.B) {
	e, err := newEndpoint("web", map[string][]string{"user": {"u"}, "hostname": {"web"}, "port": {"22"},
		"userknownhostsfile": {"/known1 /known2"}, "identityfile": {"/a", "/b"}}, Config{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if e.key() == "" {
			b.Fatal("no key")
		}
	}
}
