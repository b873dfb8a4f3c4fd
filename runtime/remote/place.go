package remote

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"infra/runtime"
)

// An identity is by what the host at an address is known, where that is not
// its address. It is comparable, and part of what tells connections apart.
type identity struct {
	host     string // the host's name in plans
	instance string
	pins     string // the only keys, in their one form; "" pins none
	firstUse bool

	// What known_hosts calls the host: as its own configuration has it.
	hostName string
	port     int
	alias    string
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$`)

// ParseAddress takes "name", "address", "name:port" or "[address]:port" apart.
// The port is 0 where there is none.
func ParseAddress(address string) (host string, port int, err error) {
	no := runtime.WithHint(fmt.Errorf("%q is no address", address), "write a name or an IP address, with :port where it is another one: 10.0.0.1, [2001:db8::1]:2222")
	host = address
	if _, err := netip.ParseAddr(address); err != nil {
		if name, p, err := net.SplitHostPort(address); err == nil {
			if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
				return "", 0, no
			}
			host = name
		} else if inner, ok := strings.CutPrefix(address, "["); ok {
			host = strings.TrimSuffix(inner, "]")
		}
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
		return ip.String(), port, nil
	}
	if strings.HasPrefix(address, "[") {
		return "", 0, no
	}
	if !plainName.MatchString(host) {
		return "", 0, no
	}
	return host, port, nil
}

// ParsePins reads public host keys, a line each, as a host's .pub file has
// them, and returns them in one form: without comments, sorted.
func ParsePins(text string) (string, error) {
	var pins []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil || len(options) > 0 {
			return "", runtime.WithHint(fmt.Errorf("%q is no public key", shortened(line)),
				"it is a line of the host's /etc/ssh/ssh_host_ed25519_key.pub, or of the var that holds it: ssh-ed25519 AAAA...")
		}
		if _, signed := key.(*ssh.Certificate); signed {
			return "", fmt.Errorf("%q is a certificate: pin the key that it is for", shortened(line))
		}
		pins = append(pins, authorizedKey(key))
	}
	if len(pins) == 0 {
		return "", fmt.Errorf("there is no public key in it")
	}
	slices.Sort(pins)
	return strings.Join(slices.Compact(pins), "\n"), nil
}

// shortened keeps the kind of a key, and not all of what may be no key at all.
func shortened(line string) string {
	if len(line) > 40 {
		return strings.ToValidUTF8(line[:40], "") + "..."
	}
	return line
}

// endpoint is how the host is reached.
func (p *Pool) endpoint(ctx context.Context, h *runtime.Host) (*Endpoint, error) {
	if h.Place != nil {
		return p.endpointAt(ctx, h)
	}
	return p.resolve(ctx, destinationOf(h), nil)
}

// endpointAt is how the host is reached at its place: by its own configuration
// with another address, so that user, keys and jump hosts are the same.
func (p *Pool) endpointAt(ctx context.Context, h *runtime.Host) (*Endpoint, error) {
	place := h.Place
	if u := place.Pending; u != nil {
		return nil, fmt.Errorf("where %s is reached is not known yet %s", h.Name, u)
	}
	name, port, err := ParseAddress(place.Address)
	if err != nil {
		return nil, err
	}
	id := identity{host: h.Name, instance: place.Instance, firstUse: place.Trust == runtime.TrustFirstUse}
	if place.Key != "" {
		if id.pins, err = ParsePins(place.Key); err != nil {
			return nil, fmt.Errorf("the key of %s: %w", h.Name, err)
		}
	}
	declared, err := p.lookUp(ctx, destinationOf(h))
	if err != nil {
		return nil, err
	}
	id.hostName, id.port, id.alias = declared.HostName, declared.Port, declared.HostKeyAlias
	destination, err := destinationAt(destinationOf(h), name, port)
	if err != nil {
		return nil, err
	}
	found, err := p.resolve(ctx, destination, nil)
	if err != nil {
		return nil, err
	}
	e := *found
	e.Destination, e.as = destinationOf(h), &id
	return &e, nil
}

// destinationAt is a destination with another address: the options of an
// ssh:// destination go before what the configuration says.
func destinationAt(destination, address string, port int) (string, error) {
	name, options, err := splitDestination(destination)
	if err != nil {
		return "", err
	}
	options["hostname"] = []string{address}
	if port != 0 {
		options["port"] = []string{strconv.Itoa(port)}
	}
	u := url.URL{Scheme: "ssh", Host: name}
	if strings.Contains(name, ":") {
		u.Host = "[" + name + "]"
	}
	if ports := options["port"]; len(ports) > 0 {
		u.Host += ":" + ports[0]
	}
	if users := options["user"]; len(users) > 0 {
		u.User = url.User(users[0])
	}
	query := url.Values{}
	for _, keyword := range slices.Sorted(maps.Keys(options)) {
		if keyword != "user" && keyword != "port" {
			query.Set(keyword, options[keyword][0])
		}
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// knownAs is what known_hosts calls the endpoint's host.
func (e *Endpoint) knownAs() (hostName string, port int, alias string) {
	if e.as != nil {
		return e.as.hostName, e.as.port, e.as.alias
	}
	return e.HostName, e.Port, e.HostKeyAlias
}

// keys are the pinned keys.
func (id *identity) keys() knownHosts {
	var keys knownHosts
	n := 0
	for line := range strings.Lines(id.pins) {
		n++
		if key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil {
			keys = append(keys, knownKey{file: "the pinned key of " + id.host, line: n, key: key})
		}
	}
	return keys
}
