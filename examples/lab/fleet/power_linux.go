package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// switchOn boots the host in a box; it does nothing where that runs already.
func (f *Fleet) switchOn(ctx context.Context, h Host) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		// There is a reader when the box has seen its host end.
		power, err := os.OpenFile(f.path("hosts", h.Name, "power"), os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			_, err := power.WriteString("on\n")
			return errors.Join(err, power.Close())
		}
		if !errors.Is(err, unix.ENXIO) {
			return err
		}
		if running, err := f.Running(); err != nil || running[h.Name] != 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("its box does not answer: %w\n%s", ctx.Err(), tail(f.path("logs", h.Name+".log")))
		}
	}
}

// cut pulls the host's cable out of the box.
func (f *Fleet) cut(host string) error {
	boxes, err := f.boxes()
	if err != nil {
		return err
	}
	return command("nsenter", "--target", strconv.Itoa(boxes[host]), "--net", "ip", "link", "delete", "port")
}

// gone waits until a process has ended, whoever its parent is.
func gone(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 50)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("process %d is still there: %w", pid, ctx.Err())
		}
	}
}

// end kills a process and waits until it is gone.
func end(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return gone(ctx, pid)
}

// command runs a program of this machine for its effect.
func command(argv ...string) error {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
