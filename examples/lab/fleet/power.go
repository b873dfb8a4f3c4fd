package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// patience is how long a host may take to go down or to come up. Machines that
// run the lab's tests are busy.
const patience = 30 * time.Second

// Reboot restarts a running host and returns when its sshd is back: with a new
// boot id, without its processes, an empty /run and the rest of its disk. A
// systemd stops its units before; any other host loses power for a moment.
func (f *Fleet) Reboot(ctx context.Context, host string) error {
	h, err := f.host(host)
	if err != nil {
		return err
	}
	before, err := f.pid(host)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if h.Systemd {
		// The reboot may kill the command that asks for it.
		_, asked := f.Exec(host, "systemctl", "reboot")
		if err := gone(ctx, before); err != nil {
			return errors.Join(fmt.Errorf("reboot %s: %w", host, err), asked)
		}
	} else {
		if err := end(before); err != nil {
			return fmt.Errorf("reboot %s: %w", host, err)
		}
		if err := f.switchOn(ctx, h); err != nil {
			return fmt.Errorf("reboot %s: %w", host, err)
		}
	}
	return f.back(ctx, h)
}

// PowerOff cuts a running host's power. Its peers are told nothing: its network
// is silent first, and stays so. Only a host with systemd has a network that
// can be cut.
func (f *Fleet) PowerOff(host string) error {
	h, err := f.host(host)
	if err != nil {
		return err
	}
	if !h.Systemd {
		return fmt.Errorf("%s shares this machine's network, so its death would be heard: only hosts with systemd can lose power", host)
	}
	pid, err := f.pid(host)
	if err != nil {
		return err
	}
	if err := f.cut(host); err != nil {
		return fmt.Errorf("cut the network of %s: %w", host, err)
	}
	return end(pid)
}

// PowerOn boots a host that is off and returns when its sshd answers.
func (f *Fleet) PowerOn(ctx context.Context, host string) error {
	h, err := f.host(host)
	if err != nil {
		return err
	}
	boxes, err := f.boxes()
	if err != nil {
		return err
	}
	if boxes[host] == 0 {
		return fmt.Errorf("%s was never up", host)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := f.switchOn(ctx, h); err != nil {
		return fmt.Errorf("switch on %s: %w", host, err)
	}
	return f.back(ctx, h)
}

// back waits for a host that boots again.
func (f *Fleet) back(ctx context.Context, h Host) error {
	if err := f.process(h).answers(ctx); err != nil {
		return fmt.Errorf("wait for %s: %w", h.Name, err)
	}
	return nil
}
