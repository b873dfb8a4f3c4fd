package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// supported says what keeps the lab from working here, if anything does.
func supported() error {
	if os.Getuid() != 0 {
		return errors.New("the lab needs root: its hosts are namespaces with mounts of their own (try: sudo)")
	}
	for _, tool := range []string{"sshd", "nix", "git"} {
		if _, err := exec.LookPath(tool); err != nil {
			if _, err := os.Stat("/usr/sbin/" + tool); err == nil {
				continue
			}
			return fmt.Errorf("the lab needs %s (go run ./examples/lab up installs it)", tool)
		}
	}
	return nil
}

// private refuses a state folder that another user could change.
func private(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("look at the state folder %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Getuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("the state folder %s must be a folder of mode 0700 that belongs to root", dir)
	}
	return nil
}

// Running finds the living hosts and the process id of each one's init. The
// kernel is asked, so that neither a killed Up nor a reboot can mislead it.
func (f *Fleet) Running() (map[string]int, error) {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, dir := range procs {
		cmdline, err := os.ReadFile(dir + "/cmdline")
		if err != nil {
			continue // it ended meanwhile
		}
		args := strings.Split(string(cmdline), "\x00")
		if len(args) < 3 || args[1] != f.path("host.sh") || !isInit(dir) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		found[args[2]] = pid
	}
	return found, nil
}

// isInit says whether a process is the first of a pid namespace below ours.
func isInit(dir string) bool {
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(status, []byte("\nNSpid:"))
	ids, _, _ := bytes.Cut(rest, []byte("\n"))
	fields := strings.Fields(string(ids))
	return len(fields) > 1 && fields[len(fields)-1] == "1"
}

// A process is a host that was just started.
type process struct {
	host  Host
	log   string
	ended chan error
}

// boot starts a host as the first process of its namespaces.
func (f *Fleet) boot(h Host) (*process, error) {
	address := net.JoinHostPort(h.Address, strconv.Itoa(Port))
	if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("%s is in use: is another lab up? choose another --net", address)
	}
	p := &process{host: h, log: f.path("logs", h.Name+".log"), ended: make(chan error, 1)}
	if err := os.MkdirAll(f.path("logs"), 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command("/bin/sh", f.path("host.sh"), h.Name, f.state, size)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root"}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // it outlives us, our terminal and our Ctrl-C
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("make its namespaces: %w", err)
	}
	go func() { p.ended <- cmd.Wait() }()
	return p, nil
}

// answers waits until the host's sshd greets.
func (p *process) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	address := net.JoinHostPort(p.host.Address, strconv.Itoa(Port))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !greets(ctx, address) {
		select {
		case <-tick.C:
		case err := <-p.ended:
			return fmt.Errorf("it ended at once: %w\n%s", err, tail(p.log))
		case <-ctx.Done():
			return fmt.Errorf("nothing answers at %s: %w\n%s", address, ctx.Err(), tail(p.log))
		}
	}
	return nil
}

func greets(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return false
	}
	greeting := make([]byte, 4)
	_, err = conn.Read(greeting)
	return err == nil && string(greeting) == "SSH-"
}

// tail is the end of a log, for an error.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// stop kills every host's init, and with it the kernel kills all that runs in
// the host and drops its mounts.
func (f *Fleet) stop() error {
	running, err := f.Running()
	if err != nil {
		return err
	}
	var errs []error
	for name, pid := range running {
		if err := end(pid); err != nil {
			errs = append(errs, fmt.Errorf("end %s (process %d): %w", name, pid, err))
		}
	}
	return errors.Join(errs...)
}

// end kills a process and waits until it is gone, whoever its parent is.
func end(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return err
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			return errors.New("it is still there 10 seconds after the kill")
		}
		return err
	}
}
