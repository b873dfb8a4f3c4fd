// Command wire is a long way between this machine and a network namespace: two network
// devices between which it carries every packet, each after the delay. It ends with its
// standard input. (The kernel's own delay, sch_netem, is not everywhere.)
//
//	wire NAMESPACE HERE/BITS THERE/BITS DELAY
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: wire NAMESPACE HERE/BITS THERE/BITS DELAY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "wire:", err)
		os.Exit(1)
	}
}

func run(namespace, here, there, late string) error {
	delay, err := time.ParseDuration(late)
	if err != nil {
		return err
	}
	near, nearName, err := device()
	if err != nil {
		return err
	}
	far, farName, err := device()
	if err != nil {
		return err
	}
	for _, line := range []string{
		"link set " + farName + " netns " + namespace,
		"address add " + here + " dev " + nearName,
		"link set " + nearName + " up",
		"-n " + namespace + " address add " + there + " dev " + farName,
		"-n " + namespace + " link set " + farName + " up",
		"-n " + namespace + " link set lo up",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w\n%s", line, err, out)
		}
	}
	failed := make(chan error, 2)
	go func() { failed <- carry(near, far, delay) }()
	go func() { failed <- carry(far, near, delay) }()
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		failed <- err
	}()
	fmt.Println("up")
	return <-failed
}

// device makes a network device, the packets of which are read and written.
func device() (*os.File, string, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq("infra%d")
	if err != nil {
		return nil, "", err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, "", fmt.Errorf("make a network device: %w", err)
	}
	return os.NewFile(uintptr(fd), request.Name()), request.Name(), nil
}

type packet struct {
	due  time.Time
	data []byte
}

// carry hands on what one device is to send to the other, in order.
func carry(from, to *os.File, delay time.Duration) error {
	line := make(chan packet, 1<<16)
	go func() {
		for p := range line {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.data) // one that is lost is sent again
		}
	}()
	defer close(line)
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return err
		}
		line <- packet{time.Now().Add(delay), append([]byte(nil), buf[:n]...)}
	}
}
