package nix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

// A failedBuild is a derivation whose own builder failed.
type failedBuild struct {
	drv     string
	machine string   // that it was built on; "" is this one
	tail    []string // the last lines of its log
	reason  string   // "failed with exit code 3"; "" where nix did not say it
}

// How nix says why a build failed: up to 2.3x, and after. What fails since
// something that it needs failed is not matched. A time that is over comes with the
// derivation, or since 2.3x without.
var (
	builderFailed = regexp.MustCompile(`builder for '(/nix/store/[^'\s]+\.drv)' (failed[^\n]*)`)
	cannotBuild   = regexp.MustCompile(`Cannot build '(/nix/store/[^'\s]+\.drv)'\.\s+Reason: builder (failed[^\n]*)`)
	timedOut      = regexp.MustCompile(`(?:building of '(/nix/store/[^'\s!^]+\.drv)[!^][^\n]*)?(timed out after \d+ seconds[^\n]*)`)
	hashMismatch  = regexp.MustCompile(`hash mismatch in fixed-output derivation '(/nix/store/[^'\s]+\.drv)':\s+specified:\s+(\S+)\s+got:\s+(\S+)`)
	sinceOthers   = regexp.MustCompile(`\bdependenc(?:y|ies)\b.*\bfailed\b|^error: build of '`)
)

// explain keeps why a build failed, if that is what the message says.
func (a *activities) explain(text string) {
	if !strings.HasPrefix(text, "error:") || sinceOthers.MatchString(text) || len(a.reasons)+len(a.others) >= failedKept {
		return
	}
	for _, form := range []*regexp.Regexp{builderFailed, cannotBuild, timedOut, hashMismatch} {
		m := form.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		a.reasons[m[1]] = strings.TrimRight(m[2], ";.")
		if form == hashMismatch {
			a.reasons[m[1]] = fmt.Sprintf("failed with a hash mismatch (specified %s, got %s)", m[2], m[3])
		}
		a.blame(m[1])
		return
	}
	if !slices.Contains(a.others, text) { // a daemon says it, too
		a.others = append(a.others, text)
	}
}

// endBuild is what became of a build. Where one has failed nix stops those that run,
// and does not say so: it only does not count them.
func (a *activities) endBuild(act *activity) string {
	switch {
	case act.broken:
	case a.failing > 0:
		a.failing--
	case a.working > 0:
		a.working--
		return act.does().did
	case a.total(buildsActivity).failed > 0:
		return "not finished"
	default:
		return act.does().did
	}
	a.fail(act)
	return "failed"
}

// blame marks the build of which nix says that it failed.
func (a *activities) blame(drv string) {
	if drv == "" {
		return // the next one that ends
	}
	a.failing = 0
	for _, act := range a.live {
		if act.kind == buildActivity && act.subject == drv {
			act.broken = true
		}
	}
}

// fail keeps the end of a failed build's log.
func (a *activities) fail(act *activity) {
	if len(a.failed) < failedKept {
		a.failed = append(a.failed, failedBuild{drv: act.subject, machine: act.machine, tail: act.tail})
	}
}

// failures are the builds that failed, in the order in which they did.
func (a *activities) failures() []failedBuild {
	a.mu.Lock()
	defer a.mu.Unlock()
	list, named := slices.Clone(a.failed), map[string]bool{}
	for i := range list {
		named[list[i].drv] = true
		list[i].reason = a.reasons[list[i].drv]
		if list[i].reason == "" {
			list[i].reason = a.reasons[""]
		}
	}
	for drv, reason := range a.reasons { // those whose activity this process did not see
		if drv != "" && !named[drv] {
			list = append(list, failedBuild{drv: drv, reason: reason})
		}
	}
	slices.SortStableFunc(list[len(a.failed):], func(x, y failedBuild) int { return strings.Compare(x.drv, y.drv) })
	return list
}

// buildError replaces what nix said at the end by the end of the log of each
// build that failed. A build that was stopped has not failed.
// Errors beside those may be the cause, as where an output refers to what it must not.
func (s store) buildError(ctx context.Context, name string, a *activities, err error) error {
	return s.failedBuilds(ctx, name, a.failures(), a.others, err)
}

// failedBuilds is buildError of some builds that failed, and of what else nix said.
func (s store) failedBuilds(ctx context.Context, name string, failed []failedBuild, others []string, err error) error {
	if len(failed) == 0 || ctx.Err() != nil {
		return err
	}
	const shown = 3
	var said []string
	for _, f := range failed[:min(len(failed), shown)] {
		said = append(said, s.failure(ctx, f))
	}
	if rest := failed[len(said):]; len(rest) > 0 {
		drvs := make([]string, len(rest))
		for i, f := range rest {
			drvs[i] = f.drv
		}
		said = append(said, "these failed, too:"+listing(drvs, func(drv string) string { return drv }))
	}
	said = append(said, others[:min(len(others), shown)]...)
	text := strings.Join(said, "\n")
	if len(failed) > 1 {
		text = "the build of " + name + " failed:\n" + text
	} else if drvName(failed[0].drv) != name {
		text = "the build of " + name + " failed: " + text // in the line that a summary has room for
	}
	return runtime.WithHint(errors.New(text), "nix log %s", failed[0].drv)
}

// failure says of one build why it failed, and what it said before that.
func (s store) failure(ctx context.Context, f failedBuild) string {
	reason := f.reason
	if reason == "" {
		reason = "failed"
	}
	text := fmt.Sprintf("the build of %s %s in %s", drvName(f.drv), reason, f.drv)
	if f.machine != "" {
		text += " on " + f.machine
	}
	lines := command.LastLines(strings.Join(f.tail, "\n"), tailKept)
	if lines == "" { // somebody else's process built it
		lines = s.logOf(ctx, f.drv)
	}
	if lines == "" {
		return text + "; its log is empty"
	}
	text += "; the last lines of its log:\n" + lines
	if path := logFile(f.drv); path != "" {
		text += "\nits full log: " + path
	}
	return text
}

// logOf is the end of what a builder said; "" where that is not kept.
func (s store) logOf(ctx context.Context, drv string) string {
	kept, err := s.script(ctx, "reading the log", remote.Command{}, `exec nix-store --read-log "$1"`, drv)
	if err != nil {
		return ""
	}
	return command.LastLines(kept.Stdout, tailKept)
}

// logFile is where the nix here keeps a derivation's log; "" where it does not.
func logFile(drv string) string {
	dir := os.Getenv("NIX_LOG_DIR")
	if dir == "" {
		dir = "/nix/var/log/nix"
	}
	base := filepath.Base(drv)
	if len(base) < 3 {
		return ""
	}
	path := filepath.Join(dir, "drvs", base[:2], base[2:])
	for _, ending := range []string{".bz2", ""} { // as compress-build-log is set
		if _, err := os.Stat(path + ending); err == nil {
			return path + ending
		}
	}
	return ""
}
