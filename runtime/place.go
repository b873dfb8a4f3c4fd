package runtime

import (
	"fmt"
	"strings"
)

// A Place is where a host is reached, and by what it is known there, in place
// of what ssh's configuration says.
type Place struct {
	Address  string // a name or an IP address, with ":port" where it is not the configuration's
	Key      string `json:",omitempty"` // the host's public keys, a line each; "" pins none
	Trust    Trust  // where none is pinned
	Instance string `json:",omitempty"` // which of several machines of the host's name, one after the other

	// Pending is why it is not known yet: address, key or instance, which then
	// stand as its name, will come from there. Nothing is asked of such a host.
	Pending *Unknown `json:"-"`
}

// Trust says by what the key of a host is judged that is reached at an address.
type Trust string

// The kinds of trust. None takes a key unchecked twice.
const (
	TrustKnown    Trust = "known"     // by known_hosts, where the host stands under its own name
	TrustFirstUse Trust = "first-use" // by what it showed when it was first reached, which is recorded
)

// String is the place as a preview shows it: "at 10.0.0.1, trust: first use".
func (p *Place) String() string {
	at := "at " + p.Address
	if p.Pending != nil && !p.unknownAddress() {
		at += ", with a key or an instance " + p.Pending.String()
	}
	switch {
	case p.Key != "":
		return at + ", trust: its key is pinned"
	case p.Trust == TrustFirstUse:
		return at + ", trust: first use"
	}
	return at
}

func (p *Place) unknownAddress() bool { return p.Pending != nil && p.Address == p.Pending.String() }

// Args is the place as an operation's arguments have it.
func (p *Place) Args() Args {
	args := Args{"address": p.Address}
	if p.Instance != "" {
		args["instance"] = p.Instance
	}
	return args
}

// At is the host as it is reached at a place.
func (h *Host) At(p Place) *Host {
	at := *h
	at.Place = &p
	return &at
}

// Pending is why the place of the host is not known yet; nil where it is, or
// where it has none.
func (h *Host) Pending() *Unknown {
	if h.Place == nil {
		return nil
	}
	return h.Place.Pending
}

// pendingHost is how a host of which the place is not known is written. It
// cannot be decoded.
type pendingHost struct {
	*Host
	Pending string
}

// notKept is the error of decoding one.
func notKept(host string, x any) error {
	m, _ := x.(map[string]any)
	if why, ok := m["Pending"].(string); ok && strings.TrimSpace(why) != "" {
		return fmt.Errorf("decode a kept value: where host %s is reached, %s, was not kept", host, why)
	}
	return nil
}
