package fleet

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// Exec runs a command as root in a running host, past its sshd, and returns
// what it wrote to stdout.
func (f *Fleet) Exec(host string, argv ...string) (string, error) {
	pid, err := f.pid(host)
	if err != nil {
		return "", err
	}
	enter := []string{"--target", strconv.Itoa(pid), "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wd", "--"}
	cmd := exec.Command("nsenter", append(enter, argv...)...)
	cmd.Env = []string{"PATH=" + loginPath, "HOME=/root", "USER=root"}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), fmt.Errorf("%s on %s: %w: %s", argv[0], host, err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}

// pid is the process id of a running host's init.
func (f *Fleet) pid(name string) (int, error) {
	if _, err := f.host(name); err != nil {
		return 0, err
	}
	running, err := f.Running()
	if err != nil {
		return 0, err
	}
	if running[name] == 0 {
		return 0, fmt.Errorf("%s is down", name)
	}
	return running[name], nil
}
