package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/journal"
	"infra/runtime/remote"
)

// waitFlag lets a run wait for the locks that another run holds.
func waitFlag(fl *pflag.FlagSet, wait *time.Duration) {
	fl.DurationVar(wait, "wait", 0, "wait so long for another run that holds a lock, such as 5m (default: end with exit code 5)")
}

// takeLock takes locks on the hosts themselves, in the name of who calls infra.
func takeLock(pool *remote.Pool) engine.TakeLock {
	return func(ctx context.Context, h *runtime.Host, run, plan string) (engine.HostLock, error) {
		machine, err := os.Hostname()
		if err != nil {
			return engine.HostLock{}, fmt.Errorf("find the name of this machine: %w", err)
		}
		lock, err := pool.Lock(ctx, h, remote.Holder{Run: run, User: journal.Person(), Machine: machine, Plan: plan, Since: time.Now()})
		if err != nil {
			return engine.HostLock{}, err
		}
		return engine.HostLock{Lost: lock.Lost(), Err: lock.Err, Release: lock.Release, Boot: lock.Boot()}, nil
	}
}
