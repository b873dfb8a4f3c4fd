package fleet

import (
	"os"
	"os/exec"
	"syscall"
)

// cloudProcess finds the process of the cloud's API, or 0.
func (f *Fleet) cloudProcess() (int, error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		if p.argv[0] == f.cloudProgram() {
			return p.pid, nil
		}
	}
	return 0, nil
}

// runCloud starts it. The channel tells of its end.
func (f *Fleet) runCloud() (<-chan error, error) {
	if err := os.MkdirAll(f.path("logs"), 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(f.path("logs", "hetzner.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(f.cloudProgram(), "--lab", f.state)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return ended, nil
}

// StopCloud kills the cloud's API and leaves its hosts: Up starts it again.
func (f *Fleet) StopCloud() error {
	pid, err := f.cloudProcess()
	if err != nil || pid == 0 {
		return err
	}
	return end(pid)
}

// remove ends a host's box, with all that is in it.
func (f *Fleet) remove(name string) error {
	boxes, err := f.boxes()
	if err != nil {
		return err
	}
	if boxes[name] != 0 {
		if err := end(boxes[name]); err != nil {
			return err
		}
	}
	h, err := f.host(name)
	if err != nil {
		return err
	}
	return removeLeftovers(f.remains(h))
}
