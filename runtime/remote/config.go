package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"infra/runtime"
)

// Config is how hosts are reached.
type Config struct {
	SSHConfig string // the file for ssh -F; "" is the user's own configuration

	// ConnectTimeout bounds TCP, greeting, handshake and login together; 10 s
	// where it is 0. The ConnectTimeout of ssh_config wins where it is set.
	ConnectTimeout time.Duration

	// Grace is how long a cancelled command has between TERM and KILL; 10 s
	// where it is 0.
	Grace time.Duration

	// Contacts is the file of the hosts that are trusted on first use; ""
	// keeps them for the pool's life. With LookOn it is read and not written.
	Contacts string
	LookOn   bool
}

func (c Config) withDefaults() Config {
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	if c.Grace <= 0 {
		c.Grace = DefaultGrace
	}
	return c
}

// An Endpoint is what ssh's configuration says of a destination.
type Endpoint struct {
	Destination string // as it was asked for
	User        string
	HostName    string
	Port        int

	HostKeyAlias    string
	IdentityFiles   []string
	Certificates    []string // the CertificateFile lines
	IdentityAgent   string   // a socket; "" is no agent
	IdentitiesOnly  bool
	KnownHosts      []string // the user's files, then the machine's
	RevokedHostKeys string
	ProxyCommand    string
	ProxyJump       []string // the hops in order, the nearest first
	ConnectTimeout  time.Duration

	jump *Endpoint // the hop before this one, nil where there is none
	as   *identity // by what the host is known at an address of its own; nil for any other
	base string    // see baseKey, which takes its time
}

// Address is "host:port".
func (e *Endpoint) Address() string { return net.JoinHostPort(e.HostName, strconv.Itoa(e.Port)) }

// String is "user@host:port", led by the destination where it says something
// else.
func (e *Endpoint) String() string {
	s := e.User + "@" + e.Address()
	if e.Destination == "" || slices.Contains([]string{e.HostName, e.User + "@" + e.HostName, s, "ssh://" + s}, e.Destination) {
		return s
	}
	return e.Destination + " (" + s + ")"
}

// key is equal for endpoints that may share a connection.
func (e *Endpoint) key() string {
	key := e.base
	if e.ProxyCommand != "" {
		key += " with " + strconv.Quote(e.ProxyCommand)
	}
	if e.as != nil {
		key += fmt.Sprintf(" as %#v", *e.as)
	}
	if e.jump != nil {
		key += " by " + e.jump.key()
	}
	return key
}

// baseKey is the part of the key that stays when the way to the host changes.
func (e *Endpoint) baseKey() string {
	same := *e
	same.Destination, same.ProxyCommand, same.ProxyJump, same.jump, same.as, same.base = "", "", nil, nil, nil, ""
	return fmt.Sprintf("%#v", same)
}

// lookUp asks ssh what its configuration says of destination.
func lookUp(ctx context.Context, config Config, destination string) (*Endpoint, error) {
	if destination == "" || strings.ContainsAny(destination, " \t\r\n\x00") || strings.HasPrefix(destination, "-") {
		return nil, fmt.Errorf("%q is no ssh destination", destination)
	}
	if _, err := exec.LookPath("ssh"); err != nil {
		return lookUpWithoutSSH(config, destination)
	}
	output, problem, exit, err := askSSH(ctx, config, destination)
	if err != nil {
		return nil, err
	}
	if exit != 0 {
		argv, _ := lookUpArgv(config, destination)
		return nil, runtime.WithHint(
			fmt.Errorf("ssh cannot read its configuration for %s: %s", destination, oneLine(problem)),
			"try: %s", strings.Join(argv, " "))
	}
	return newEndpoint(destination, parseOptions(output), config)
}

// asking holds the processes of ssh that are asked at a time. Hundreds would only
// wait for each other, until their output is given up.
var asking = make(chan struct{}, 32)

func askSSH(ctx context.Context, config Config, destination string, flags ...string) (output, problem string, exit int, err error) {
	argv, err := lookUpArgv(config, destination)
	if err != nil {
		return "", "", 0, err
	}
	select {
	case asking <- struct{}{}:
		defer func() { <-asking }()
	case <-ctx.Done():
		return "", "", 0, context.Cause(ctx)
	}
	var out, errs bytes.Buffer
	end, err := Run(ctx, Command{Argv: slices.Insert(argv, 1, flags...), Stdout: &out, Stderr: &errs})
	if err != nil {
		return "", "", 0, fmt.Errorf("asking ssh for the configuration of %s: %w", destination, err)
	}
	return out.String(), errs.String(), end.Code, nil
}

// lookUpArgv takes an ssh:// destination apart: not every ssh reads one that
// holds an IPv6 address.
func lookUpArgv(config Config, destination string) ([]string, error) {
	argv := []string{"ssh", "-G"}
	if config.SSHConfig != "" {
		argv = append(argv, "-F", config.SSHConfig)
	}
	if !strings.HasPrefix(destination, "ssh://") {
		return append(argv, "--", destination), nil
	}
	name, options, err := splitDestination(destination)
	if err != nil {
		return nil, err
	}
	for flag, keyword := range map[string]string{"-l": "user", "-p": "port"} {
		if values := options[keyword]; len(values) > 0 {
			argv = append(argv, flag, values[0])
		}
	}
	for _, keyword := range slices.Sorted(maps.Keys(options)) {
		if keyword != "user" && keyword != "port" {
			argv = append(argv, "-o", keyword+"="+options[keyword][0])
		}
	}
	return append(argv, "--", name), nil
}

// parseOptions reads the output of ssh -G: a keyword and a value a line.
func parseOptions(output string) map[string][]string {
	options := map[string][]string{}
	for line := range strings.Lines(output) {
		keyword, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		keyword = strings.ToLower(keyword)
		options[keyword] = append(options[keyword], value)
	}
	return options
}

// newEndpoint makes sense of options by their lower-case keyword.
func newEndpoint(destination string, options map[string][]string, config Config) (*Endpoint, error) {
	one := func(keyword string) string {
		if v := options[keyword]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	e := &Endpoint{Destination: destination, User: one("user"), HostName: one("hostname"), HostKeyAlias: one("hostkeyalias")}
	port, err := strconv.Atoi(one("port"))
	if e.User == "" || e.HostName == "" || err != nil || port < 1 || port > 65535 {
		return nil, fmt.Errorf("ssh's configuration gives %s no user, host name or port", destination)
	}
	e.Port = port
	e.IdentitiesOnly = one("identitiesonly") == "yes"
	if jump := one("proxyjump"); jump != "none" {
		e.ProxyJump = hops(jump)
	}
	if command := one("proxycommand"); command != "none" && len(e.ProxyJump) == 0 {
		e.ProxyCommand = command
	}
	e.ConnectTimeout = config.ConnectTimeout
	if seconds, err := strconv.Atoi(one("connecttimeout")); err == nil && seconds > 0 {
		e.ConnectTimeout = time.Duration(seconds) * time.Second
	}
	err = e.expandFiles(options)
	e.base = e.baseKey()
	return e, err
}

func (e *Endpoint) expandFiles(options map[string][]string) error {
	t, err := newTokens(e)
	if err != nil {
		return err
	}
	e.IdentityFiles = t.paths(options["identityfile"])
	e.Certificates = t.paths(options["certificatefile"])
	for _, keyword := range []string{"userknownhostsfile", "globalknownhostsfile"} {
		for _, files := range options[keyword] {
			e.KnownHosts = append(e.KnownHosts, t.paths(words(files))...)
		}
	}
	e.RevokedHostKeys = strings.Join(t.paths(options["revokedhostkeys"]), " ")
	e.IdentityAgent = t.agent(options["identityagent"])
	if e.ProxyCommand != "" {
		e.ProxyCommand, err = t.command(e.ProxyCommand)
	}
	return errors.Join(t.err, err)
}

// hops splits a ProxyJump.
func hops(jump string) []string {
	if jump == "" {
		return nil
	}
	all := strings.Split(jump, ",")
	for i, hop := range all {
		hop = strings.TrimSpace(hop)
		if strings.Contains(hop, ":") && !strings.Contains(hop, "://") {
			hop = "ssh://" + hop // or ssh would take the port for a part of the name
		}
		all[i] = hop
	}
	return all
}

// words splits a list of files, some of which may be quoted.
func words(s string) []string {
	var out []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		end, skip := strings.IndexAny(s, " \t"), 0
		if s[0] == '"' {
			s = s[1:]
			end, skip = strings.IndexByte(s, '"'), 1
		}
		if end < 0 {
			return append(out, s)
		}
		out = append(out, s[:end])
		s = s[end+skip:]
	}
	return out
}

// oneLine shortens what a tool said.
func oneLine(s string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(strings.TrimSpace(s), "\n"), func(l string) bool {
		return strings.TrimSpace(l) == "" || strings.HasPrefix(l, "Pseudo-terminal will not")
	}), "; ")
}

// login is the user ssh logs in as by default.
func login() (*user.User, error) {
	me, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("who is the user that runs infra: %w", err)
	}
	return me, nil
}
