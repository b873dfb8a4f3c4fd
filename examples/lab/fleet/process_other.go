//go:build !linux

package fleet

import (
	"context"
	"errors"
)

var errLinux = errors.New("the lab needs Linux: its hosts are namespaces of the Linux kernel")

type process struct{ host Host }

func (f *Fleet) process(h Host) *process { return &process{h} }

func supported() error { return errLinux }

func private(string) error { return errLinux }

// Running fails: there is no lab without Linux.
func (f *Fleet) Running() (map[string]int, error) { return nil, errLinux }

// HasTree is for Linux.
func HasTree() bool { return false }

func (f *Fleet) boxes() (map[string]int, error) { return nil, errLinux }

func (f *Fleet) boot(context.Context, Host) (*process, error) { return nil, errLinux }

func (f *Fleet) switchOn(context.Context, Host) error { return errLinux }

func (f *Fleet) cut(string) error { return errLinux }

func gone(context.Context, int) error { return errLinux }

func end(int) error { return errLinux }

func (f *Fleet) stop() error { return errLinux }

func (f *Fleet) remove(string) error { return errLinux }

func (f *Fleet) cloudProcess() (int, error) { return 0, errLinux }

func (f *Fleet) runCloud() (<-chan error, error) { return nil, errLinux }

// StopCloud fails: there is no lab without Linux.
func (f *Fleet) StopCloud() error { return errLinux }

func (p *process) answers(context.Context) error { return errLinux }
