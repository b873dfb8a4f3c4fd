package remote

import (
	"context"
	"strings"

	"infra/runtime"
)

// BootScript prints what is another one after each boot of a host, or nothing
// where the host does not tell: of Linux and macOS, for any POSIX shell.
const BootScript = `{ cat /proc/sys/kernel/random/boot_id || sysctl -n kern.bootsessionuuid; } 2>/dev/null`

// BootID asks h in which boot it is; "" where it does not tell.
func (p *Pool) BootID(ctx context.Context, h *runtime.Host) (string, error) {
	said, err := p.Output(ctx, h, "sh", "-c", BootScript+" || true")
	return strings.TrimSpace(said), err
}

// Drop closes every connection to h, with all that is under way on it: h is
// going down, and may not say so. What is asked of h next connects anew.
func (p *Pool) Drop(ctx context.Context, h *runtime.Host) error {
	e, err := p.endpoint(ctx, h)
	if err != nil {
		return err
	}
	key := e.key()
	p.mu.Lock()
	old := p.aside[key]
	if c := p.conns[key]; c != nil {
		old = append(old, c)
	}
	delete(p.aside, key)
	delete(p.conns, key)
	p.mu.Unlock()
	for _, c := range old {
		c.client.Close()
		<-c.gone
	}
	return nil
}
