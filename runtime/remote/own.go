package remote

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"infra/runtime"
)

// IsHere says whether h is the machine that we run on: what ends there ends us too.
// A host whose address is none of ours is not asked. One that is asked and does not
// answer is not known to be.
//
// A boot's id is another one on every machine. Containers share it with theirs, and
// differ in their namespaces: what is done to one of them is not done to us.
func (p *Pool) IsHere(ctx context.Context, h *runtime.Host) bool {
	e, err := p.endpoint(ctx, h)
	if err != nil || e.jump != nil || e.ProxyCommand != "" || !p.isOurs(ctx, e.HostName) {
		return false
	}
	here := machineHere()
	if here == "" {
		return false
	}
	there, err := p.Output(ctx, h, "sh", "-c", machineScript)
	return err == nil && strings.TrimSpace(there) == here
}

// machineScript tells one machine, and one container of it, from all others. It
// prints nothing where it cannot.
const machineScript = `
boot=$(` + BootScript + `) || exit
if [ ! -d /proc/self ]; then echo "$boot"
else mount=$(readlink /proc/self/ns/mnt) && net=$(readlink /proc/self/ns/net) && echo "$boot $mount $net"; fi`

// machineHere is what machineScript says on this machine, "" where that is nothing.
func machineHere() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		said, _ := exec.Command("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid").Output()
		return strings.TrimSpace(string(said))
	}
	parts := []string{strings.TrimSpace(string(boot))}
	for _, kind := range []string{"mnt", "net"} {
		space, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			return ""
		}
		parts = append(parts, space)
	}
	return strings.Join(parts, " ")
}

// isOurs says whether an address of the name is one of this machine's.
func (p *Pool) isOurs(ctx context.Context, name string) bool {
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, name)
	if err != nil {
		return false
	}
	ours := p.own.now()
	for _, a := range addresses {
		if a.IP.IsLoopback() {
			return true
		}
		for _, o := range ours {
			if n, ok := o.(*net.IPNet); ok && n.IP.Equal(a.IP) {
				return true
			}
		}
	}
	return false
}

// ownAddresses are those of this machine. They are asked for once a second at most: a run
// asks for each of its hosts.
type ownAddresses struct {
	mu    sync.Mutex
	all   []net.Addr
	since time.Time
}

func (o *ownAddresses) now() []net.Addr {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.since) > time.Second {
		o.all, _ = net.InterfaceAddrs()
		o.since = time.Now()
	}
	return o.all
}
