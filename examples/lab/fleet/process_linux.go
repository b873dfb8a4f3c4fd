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
	return needs("up", "sshd", "nix", "git")
}

// needs says which program is missing, and which of the lab's commands would
// install it.
func needs(command string, programs ...string) error {
	for _, program := range programs {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if _, err := os.Stat("/usr/sbin/" + program); err != nil {
			return fmt.Errorf("the lab needs %s (go run ./examples/lab %s installs it)", program, command)
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

// A living process, as /proc tells of it.
type living struct {
	pid, parent int
	first       bool     // it is the first of a pid namespace below ours
	argv        []string // with an empty one at its end
}

// processes lists this machine's processes. The kernel is asked, so that
// neither a killed Up nor a reboot can mislead the lab.
func processes() (map[int]living, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	all := make(map[int]living, len(dirs))
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		status, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue // it ended meanwhile
		}
		cmdline, err := os.ReadFile(dir + "/cmdline")
		if err != nil {
			continue
		}
		if state := statusField(status, "State"); len(state) > 0 && state[0] == "Z" {
			continue // it has ended, and its parent has not asked yet
		}
		ids := statusField(status, "NSpid")
		p := living{pid: pid, first: len(ids) > 1 && ids[len(ids)-1] == "1", argv: strings.Split(string(cmdline), "\x00")}
		if parent := statusField(status, "PPid"); len(parent) == 1 {
			p.parent, _ = strconv.Atoi(parent[0]) // the kernel writes numbers
		}
		all[pid] = p
	}
	return all, nil
}

// statusField is what a line of /proc/PID/status says.
func statusField(status []byte, name string) []string {
	_, rest, _ := bytes.Cut(status, []byte("\n"+name+":"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return strings.Fields(string(line))
}

// boxOf is the name of the host whose box a process is, or "".
func (f *Fleet) boxOf(p living) string {
	if p.first && len(p.argv) > 3 && p.argv[1] == f.path("host.sh") {
		return p.argv[2]
	}
	return ""
}

// boxes finds the process id of each host's box. The box of a host that is off
// is there, too.
func (f *Fleet) boxes() (map[string]int, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, p := range all {
		if name := f.boxOf(p); name != "" {
			found[name] = p.pid
		}
	}
	return found, nil
}

// Running finds the living hosts and the process id of each one's init, which
// is the grandchild of its box.
func (f *Fleet) Running() (map[string]int, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, p := range all {
		if name := f.boxOf(all[all[p.parent].parent]); name != "" && p.first {
			found[name] = p.pid
		}
	}
	return found, nil
}

// A process is a host that was just started.
type process struct {
	host  Host
	log   string
	ended chan error // of its box, if this process started that
}

func (f *Fleet) process(h Host) *process {
	return &process{host: h, log: f.path("logs", h.Name+".log"), ended: make(chan error, 1)}
}

// boot starts a host: its box, or what is in a box that there is already.
func (f *Fleet) boot(ctx context.Context, h Host) (*process, error) {
	p := f.process(h)
	boxes, err := f.boxes()
	if err != nil {
		return nil, err
	}
	if boxes[h.Name] != 0 {
		return p, f.switchOn(ctx, h)
	}
	if err := removeLeftovers(f.remains(h)); err != nil {
		return nil, fmt.Errorf("remove what an earlier one left: %w", err)
	}
	address := net.JoinHostPort(h.Address, strconv.Itoa(Port))
	if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("%s is in use: is another lab up? choose another --net", address)
	}
	if err := unix.Mkfifo(f.path("hosts", h.Name, "power"), 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make its power switch: %w", err)
	}
	if err := os.MkdirAll(f.path("logs"), 0o700); err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", f.path("host.sh"), h.Name, f.state, size)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // it outlives us, our terminal and our Ctrl-C
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if h.Systemd {
		if err := f.forSystemd(ctx, h, cmd); err != nil {
			return nil, err
		}
	}
	return p, p.run(cmd)
}

// run starts the box.
func (p *process) run(cmd *exec.Cmd) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	for _, file := range cmd.ExtraFiles {
		defer file.Close()
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("make its namespaces: %w", err)
	}
	go func() { p.ended <- cmd.Wait() }()
	return nil
}

// answers waits until the host's sshd greets.
func (p *process) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
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
	dialer := net.Dialer{Timeout: 250 * time.Millisecond} // nothing answers at the end of a dead cable
	conn, err := dialer.DialContext(ctx, "tcp", address)
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

// stop kills every host's box, and with it the kernel kills all that runs in
// the host and drops its mounts; then it removes what is this machine's.
func (f *Fleet) stop() error {
	errs := []error{f.StopCloud()} // first, so that it makes no more hosts
	boxes, err := f.boxes()
	if err != nil {
		return err
	}
	for name, pid := range boxes {
		if err := end(pid); err != nil {
			errs = append(errs, fmt.Errorf("end %s (process %d): %w", name, pid, err))
		}
	}
	for _, h := range f.Hosts() {
		if err := removeLeftovers(f.remains(h)); err != nil {
			errs = append(errs, fmt.Errorf("remove what %s left: %w", h.Name, err))
		}
	}
	return errors.Join(errs...)
}
