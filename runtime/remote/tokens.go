package remote

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tokens expands ~ and %x in ssh's configuration. Its first error stays.
type tokens struct {
	home   string
	values map[byte]string
	err    error
}

func newTokens(e *Endpoint) (*tokens, error) {
	me, err := login()
	if err != nil {
		return nil, err
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("the name of this machine: %w", err)
	}
	short, _, _ := strings.Cut(name, ".")
	alias := e.HostKeyAlias
	if alias == "" {
		alias = e.HostName
	}
	return &tokens{home: me.HomeDir, values: map[byte]string{
		'%': "%", 'd': me.HomeDir, 'h': e.HostName, 'i': me.Uid, 'j': strings.Join(e.ProxyJump, ","), 'k': alias,
		'L': short, 'l': name, 'n': originalName(e.Destination), 'p': strconv.Itoa(e.Port), 'r': e.User, 'u': me.Username,
	}}, nil
}

// originalName is the host of a destination, as %n gives it.
func originalName(destination string) string {
	rest, uri := strings.CutPrefix(destination, "ssh://")
	if uri {
		rest, _, _ = strings.Cut(rest, "?")
	}
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	if uri && !strings.HasSuffix(rest, "]") {
		if i := strings.LastIndexByte(rest, ':'); i >= 0 {
			rest = rest[:i]
		}
	}
	return strings.Trim(rest, "[]")
}

// percent expands %x.
func (t *tokens) percent(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			t.fail("a lone %% at the end of %q in ssh's configuration", s)
			break
		}
		value, ok := t.values[s[i]]
		if !ok {
			t.fail("infra does not know the token %%%c in %q of ssh's configuration", s[i], s)
		}
		b.WriteString(value)
	}
	return b.String()
}

func (t *tokens) fail(format string, args ...any) {
	if t.err == nil {
		t.err = fmt.Errorf(format, args...)
	}
}

// paths expands file names and drops "none".
func (t *tokens) paths(names []string) []string {
	var out []string
	for _, name := range names {
		if name == "" || name == "none" {
			continue
		}
		out = append(out, t.path(name))
	}
	return out
}

func (t *tokens) path(name string) string {
	name = os.Expand(t.percent(name), func(v string) string { return os.Getenv(v) })
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		return filepath.Join(t.home, rest)
	}
	return name
}

// agent is the socket that an IdentityAgent names.
func (t *tokens) agent(values []string) string {
	socket := "SSH_AUTH_SOCK"
	if len(values) > 0 {
		socket = values[0]
	}
	switch {
	case socket == "none":
		return ""
	case socket == "SSH_AUTH_SOCK":
		return os.Getenv(socket)
	case strings.HasPrefix(socket, "$") && !strings.ContainsAny(socket, "{/"):
		return os.Getenv(socket[1:])
	}
	return t.path(socket)
}

// command expands a ProxyCommand, which a shell reads: what a host is called
// must not become shell.
func (t *tokens) command(line string) (string, error) {
	for _, c := range "hnrk" {
		value := t.values[byte(c)]
		if strings.HasPrefix(value, "-") || strings.ContainsAny(value, " \t\r\n'\"`$\\;&<>|(){}*?!#~") {
			return "", fmt.Errorf("%q cannot stand in a ProxyCommand: a shell would read it", value)
		}
	}
	return t.percent(line), nil
}
