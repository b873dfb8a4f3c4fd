// Hetzner is a stand-in for the API of Hetzner's cloud, for the lab and for
// tests: the real provider of terraform works on it.
//
// It behaves as the API is documented to, as far as ssh keys and servers go:
// tokens, names that must be unique, actions that take their time and lock their
// server, pages, and errors with the API's own codes. A server whose name is that
// of a host which the fleet leaves to the cloud is that host: creating it
// switches on the host with an empty disk and a key of its own, and deleting it
// ends both. Any other server has an address where nothing listens.
//
// What it has is in a file of the fleet's state folder, so that a restart loses
// nothing. Below /_lab it can be told to go wrong (faults.go) and be looked at.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"infra/examples/lab/fleet"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "hetzner:", err)
		os.Exit(1)
	}
}

func run() error {
	lab := flag.String("lab", "", "the state folder of the fleet whose hosts are the servers")
	flag.Parse()
	f, err := fleet.Open(*lab)
	if err != nil {
		return err
	}
	token, err := f.CloudToken()
	if err != nil {
		return err
	}
	a, err := newAPI(f.CloudState(), token, hardwareOf(f))
	if err != nil {
		return err
	}
	a.log = log.New(os.Stderr, "", log.LstdFlags)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a.goOn()
	server := &http.Server{Addr: f.CloudAddress(), Handler: a.handler(), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", server.Addr, err)
	case <-ctx.Done():
	}
	return errors.Join(server.Close(), <-ended)
}

// Hardware is what servers are made of. The functions are given the names of
// servers, and do nothing for one that is no host.
type hardware struct {
	address func(name string) string // of the host of that name; "" where there is none
	create  func(ctx context.Context, name string, keys []string) error
	remove  func(name string) error
	power   func(ctx context.Context, name string, on bool) error
	nowhere func(n int64) string // an address where nothing listens
}

func hardwareOf(f *fleet.Fleet) hardware {
	address := func(name string) string {
		h, err := f.CloudHost(name)
		if err != nil {
			return ""
		}
		return h.Address
	}
	return hardware{
		address: address,
		create: func(ctx context.Context, name string, keys []string) error {
			if address(name) == "" {
				return nil
			}
			return f.Create(ctx, name, keys)
		},
		remove: func(name string) error {
			if address(name) == "" {
				return nil
			}
			return f.Delete(name)
		},
		power: func(ctx context.Context, name string, on bool) error {
			if address(name) == "" {
				return nil
			}
			return f.Power(ctx, name, on)
		},
		nowhere: f.NoHost,
	}
}
