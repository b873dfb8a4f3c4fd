package clan

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"infra/runtime"
)

var (
	sshWord   = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	sshOption = regexp.MustCompile(`^[A-Za-z0-9]+$`)
)

// parseTarget makes a targetHost, "[ssh://][user@]host[:port][?OPTION=value&...]",
// what [runtime.Host] is reached by. As for clan, the user is root by default.
func parseTarget(target string) (string, error) {
	no := func(why string) (string, error) {
		return "", runtime.WithHint(fmt.Errorf("the targetHost %q cannot be reached: %s", target, why), "write user@host, user@host:port or user@[address]:port")
	}
	rest, query, _ := strings.Cut(strings.TrimPrefix(target, "ssh://"), "?")
	user, host := "root", strings.TrimSuffix(rest, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		user, host = host[:i], host[i+1:]
	}
	host, port, ok := splitPort(host)
	switch {
	case !ok:
		return no("its port is no number from 1 to 65535")
	case !sshWord.MatchString(user) || strings.HasPrefix(user, "-"):
		return no(fmt.Sprintf("%q is no user", user))
	case net.ParseIP(host) == nil && (!sshWord.MatchString(host) || strings.HasPrefix(host, "-")):
		return no(fmt.Sprintf("%q is no host", host))
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return no("its options are no OPTION=value&...")
	}
	for name, values := range options {
		if !sshOption.MatchString(name) || strings.ContainsAny(strings.Join(values, ""), "\n\r\x00") {
			return no(fmt.Sprintf("%q is no option of ssh", name))
		}
	}
	if port == "" && query == "" && !strings.Contains(host, ":") {
		return user + "@" + host, nil
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	u := "ssh://" + user + "@" + host
	if len(options) > 0 {
		u += "?" + options.Encode()
	}
	return u, nil
}

// splitPort takes "host:port" apart; an address with colons is in brackets, or
// has no port.
func splitPort(s string) (host, port string, ok bool) {
	if inner, rest, found := strings.Cut(strings.TrimPrefix(s, "["), "]"); strings.HasPrefix(s, "[") && found {
		host, port = inner, strings.TrimPrefix(rest, ":")
		if rest == "" {
			return host, "", true
		}
	} else if strings.Count(s, ":") == 1 {
		host, port, _ = strings.Cut(s, ":")
	} else {
		return s, "", true
	}
	n, err := strconv.Atoi(port)
	return host, port, err == nil && n > 0 && n < 65536
}
