package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/charmbracelet/x/ansi"

	"infra/runtime"
)

// watchEvery is how often infra status --watch looks.
const watchEvery = 2 * time.Second

// watch shows the status on a terminal, anew every now and then, until Ctrl-C. What was
// shown last stays.
func (a *app) watch(ctx context.Context, root, plan string) error {
	if !canRedraw(a.stdout, a.getenv) {
		return exit{exitUsage, runtime.WithHint(errors.New("--watch draws on a terminal, and this is none"), "leave it out; --json is for programs")}
	}
	ctx, cancel := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	s := screen{out: a.stdout, reflows: wrapsAnew(a.getenv)}
	ticks := time.NewTicker(watchEvery)
	defer ticks.Stop()
	for {
		width, height := a.size()
		now, err := a.standing(ctx, root, plan)
		if ctx.Err() != nil {
			return exit{code: exitInterrupted}
		}
		if err != nil {
			return err
		}
		text := strings.TrimRight(now.text(width-1, palette(wantsColor(a.stdout, a.getenv)), true), "\n")
		s.draw("", fitted(strings.Split(text, "\n"), width, height-1), width, height)
		select {
		case <-ctx.Done():
			return exit{code: exitInterrupted}
		case <-ticks.C:
		}
	}
}

// fitted leaves out what has no room on a screen, and says so.
func fitted(lines []string, width, height int) []string {
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, width-1, "…")
	}
	if len(lines) <= height || height < 2 {
		return lines
	}
	return append(lines[:height-1], "… the terminal is too low for the rest")
}
