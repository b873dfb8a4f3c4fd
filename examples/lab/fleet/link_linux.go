package fleet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Link is a bad link to a host: each packet takes its time, some are lost.
// It is as good as before when the link is closed or its process has ended.
type Link struct {
	box  int
	ends [2]*os.File
	cut  atomic.Bool
	done sync.WaitGroup
}

// A packet on its way arrives at a time.
type packet struct {
	data []byte
	due  time.Time
}

// onTheWay is how many packets a link holds; more are lost.
const onTheWay = 1024

// Link makes the link to a running host a bad one: a packet takes delay each
// way, and so many of those to the host are lost, 0.3 of them say: always the
// same ones, counted from here. Only a host with systemd has a link of its own.
//
// The box's bridge is taken apart into one at the cable and one at the host,
// and between them this process carries the packets.
func (f *Fleet) Link(host string, delay time.Duration, loss float64) (*Link, error) {
	h, err := f.host(host)
	if err != nil {
		return nil, err
	}
	boxes, err := f.boxes()
	if err != nil {
		return nil, err
	}
	if !h.Systemd || boxes[host] == 0 {
		return nil, fmt.Errorf("%s has no link of its own: only running hosts with systemd do", host)
	}
	l := &Link{box: boxes[host]}
	for i := range l.ends {
		if l.ends[i], err = tap(l.box, "wire"+strconv.Itoa(i)); err != nil {
			return nil, errors.Join(fmt.Errorf("make a link to %s: %w", host, err), l.Close())
		}
	}
	err = l.ip("link add far type bridge", "link set far up",
		"link set wire0 master far up", "link set wire1 master lab up", "link set eth0 master far")
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.carry(l.ends[0], l.ends[1], delay, loss)
	l.carry(l.ends[1], l.ends[0], delay, 0)
	return l, nil
}

// Cut loses every packet from now on, and Mend none more than before.
func (l *Link) Cut() { l.cut.Store(true) }

// Mend takes a cut back.
func (l *Link) Mend() { l.cut.Store(false) }

// Close makes the link a good one again.
func (l *Link) Close() error {
	err := l.ip("link set eth0 master lab")
	for _, end := range l.ends {
		if end != nil {
			err = errors.Join(err, end.Close())
		}
	}
	l.done.Wait()
	if l.ends[1] != nil {
		err = errors.Join(err, l.ip("link delete far"))
	}
	return err
}

// ip configures the network of the box.
func (l *Link) ip(commands ...string) error {
	for _, c := range commands {
		if err := command("nsenter", "--target", strconv.Itoa(l.box), "--net", "sh", "-c", "ip "+c); err != nil {
			return err
		}
	}
	return nil
}

// carry takes packets from one end to the other until the first is closed.
func (l *Link) carry(from, to *os.File, delay time.Duration, loss float64) {
	way := make(chan packet, onTheWay)
	luck := rand.New(rand.NewPCG(4, 4))
	l.done.Go(func() {
		defer close(way)
		for buf := make([]byte, 1<<17); ; {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if l.cut.Load() || luck.Float64() < loss {
				continue
			}
			select {
			case way <- packet{append([]byte(nil), buf[:n]...), time.Now().Add(delay)}:
			default: // there is no more room
			}
		}
	})
	l.done.Go(func() {
		for p := range way {
			time.Sleep(time.Until(p.due))
			if !l.cut.Load() {
				_, _ = to.Write(p.data) // a closed end loses it
			}
		}
	})
}

// tap makes a network device, in the network of a process, whose cable is the
// file.
func tap(pid int, name string) (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // and the thread ends with this: it is in another network
		file, err := tapIn(fmt.Sprintf("/proc/%d/ns/net", pid), name)
		made <- result{file, err}
	}()
	r := <-made
	return r.file, r.err
}

func tapIn(network, name string) (*os.File, error) {
	ns, err := os.Open(network)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter the network: %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the device: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}
