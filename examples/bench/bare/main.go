// Command bare is the least that an ssh client in Go can do: it connects to all hosts
// side by side, runs the commands one after another, and looks at their exit codes. It
// is the limit that the benchmark measures infra against.
//
//	bare HOSTS KEY KNOWN_HOSTS PORT COMMAND ...
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func main() {
	if len(os.Args) < 6 {
		fmt.Fprintln(os.Stderr, "usage: bare HOSTS KEY KNOWN_HOSTS PORT COMMAND ...")
		os.Exit(2)
	}
	if err := runAll(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5:]); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func runAll(hostsFile, keyFile, knownFile, port string, commands []string) error {
	hosts, err := os.ReadFile(hostsFile)
	if err != nil {
		return err
	}
	config, err := clientConfig(keyFile, knownFile)
	if err != nil {
		return err
	}
	addresses := strings.Fields(string(hosts))
	results := make(chan error)
	for _, a := range addresses {
		go func() { results <- runOne(net.JoinHostPort(a, port), config, commands) }()
	}
	var all []error
	for range addresses {
		all = append(all, <-results)
	}
	return errors.Join(all...)
}

func clientConfig(keyFile, knownFile string) (*ssh.ClientConfig, error) {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		return nil, err
	}
	known, err := knownhosts.New(knownFile)
	if err != nil {
		return nil, err
	}
	return &ssh.ClientConfig{
		Config:            ssh.Config{KeyExchanges: []string{"curve25519-sha256"}},
		User:              "root",
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   known,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	}, nil
}

func runOne(address string, config *ssh.ClientConfig, commands []string) error {
	client, err := ssh.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, c := range commands {
		session, err := client.NewSession()
		if err != nil {
			return fmt.Errorf("%s: %w", address, err)
		}
		if err := session.Run(c); err != nil {
			return fmt.Errorf("%s: %s: %w", address, c, err)
		}
	}
	return nil
}
