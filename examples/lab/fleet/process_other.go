//go:build !linux

package fleet

import (
	"context"
	"errors"
)

var errLinux = errors.New("the lab needs Linux: its hosts are namespaces of the Linux kernel")

type process struct{ host Host }

func supported() error { return errLinux }

func private(string) error { return errLinux }

// Running fails: there is no lab without Linux.
func (f *Fleet) Running() (map[string]int, error) { return nil, errLinux }

func (f *Fleet) boot(Host) (*process, error) { return nil, errLinux }

func (f *Fleet) stop() error { return errLinux }

func (p *process) answers(context.Context) error { return errLinux }
