package fleet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A Host is one of the lab's machines.
type Host struct {
	Name    string
	System  string // what it stands in for: "aarch64-darwin"
	Address string
	Systemd bool // it boots a systemd
	Cloud   bool // it exists only once the cloud has made it
}

// Port is where every host's sshd listens.
const Port = 2222

// hostNames in the order of their addresses: the first is NET.2.
var hostNames = [...]string{"cinnabar", "blackphos", "rosegold", "argentum", "stibnite"}

// RandomNet is a net that most likely no other fleet of this machine has, for
// one that comes and goes.
func RandomNet() string {
	return fmt.Sprintf("127.%d.%d", 128+rand.IntN(100), rand.IntN(256))
}

// Hosts lists the fleet's machines, running or not.
func (f *Fleet) Hosts() []Host {
	hosts := make([]Host, len(hostNames))
	for i, name := range hostNames {
		hosts[i] = Host{Name: name, System: "aarch64-darwin", Address: fmt.Sprintf("%s.%d", f.net, i+2), Systemd: slices.Contains(f.systemd, name), Cloud: slices.Contains(f.cloud, name)}
	}
	hosts[0].System = "x86_64-linux"
	return hosts
}

// host finds a machine by its name.
func (f *Fleet) host(name string) (Host, error) {
	for _, h := range f.Hosts() {
		if h.Name == name {
			return h, nil
		}
	}
	return Host{}, fmt.Errorf("no host %q in the lab; it has %s", name, strings.Join(hostNames[:], ", "))
}
