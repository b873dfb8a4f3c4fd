package nix

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"infra/runtime"
)

const (
	// tellEvery bounds how often people are told of what runs, however much nix says.
	tellEvery = time.Second
	// tellAfter is how long something must take to be told of.
	tellAfter = time.Second
	// tellMost bounds how many are told of at once.
	tellMost = 8
)

// ticking tells people now and then, until the function it returns is called
// when nix has ended.
func (a *activities) ticking() (ended func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				a.askSizes()
				a.report()
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		a.end()
	}
}

// askSizes asks for the sizes of what is copied, once, where nix does not tell them.
func (a *activities) askSizes() {
	a.mu.Lock()
	ask := a.sizes != nil && a.known == nil && a.toCopy > 0 && a.total(copyPathActivity).expected == 0
	copied := slices.Clone(a.early)
	a.mu.Unlock()
	if !ask {
		return
	}
	known := a.sizes(copied)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known = known
	for _, size := range known {
		a.expect(copyPathActivity, size)
	}
	t := a.totals[copyPathActivity]
	for _, path := range a.early {
		t.done = min(t.done+known[path], most)
	}
	a.totals[copyPathActivity], a.early = t, nil
	for _, act := range a.live {
		if act.kind == copyPathActivity {
			act.expected = known[act.subject]
		}
	}
}

// report tells of what runs for a while, and of what is new about it.
func (a *activities) report() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, sum, said := a.now(), a.sum(), false
	for _, act := range a.long(now) {
		detail := act.progress()
		if act.label != "" && act.detail == detail {
			continue
		}
		if act.label == "" {
			act.label = a.labelOf(act)
		}
		act.detail, said = detail, true
		a.say(act, runtime.Part{Name: act.label, Does: act.does().doing, Took: now.Sub(act.began), Detail: detail, Sum: sum})
	}
	if !said && sum != a.told {
		a.tell(runtime.Part{Sum: sum})
	}
	a.told = sum
}

// say tells of one activity.
func (a *activities) say(act *activity, p runtime.Part) {
	if a.tellOf != nil {
		a.tellOf(act.subject, p)
		return
	}
	a.tell(p)
}

// over tells of the end of what was told of.
func (a *activities) over(act *activity, did string) {
	if act.label == "" {
		return
	}
	a.told = a.sum()
	a.say(act, runtime.Part{Name: act.label, Does: did, Over: true, Took: a.now().Sub(act.began), Detail: act.size(), Sum: a.told})
}

// end takes what is left of the last line, and tells of the end of what nix left open.
func (a *activities) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.lines.pending) > 0 {
		a.lines.flush()
	}
	for _, act := range slices.SortedFunc(maps.Values(a.live), byBegin) {
		a.over(act, "not finished")
	}
}

// long are the first that run for a while; those that people know of go before others.
func (a *activities) long(now time.Time) []*activity {
	var list []*activity
	for _, act := range a.live {
		if act.does() != (verb{}) && now.Sub(act.began) >= tellAfter {
			list = append(list, act)
		}
	}
	slices.SortFunc(list, func(x, y *activity) int {
		if (x.label == "") != (y.label == "") {
			return strings.Compare(y.label, x.label)
		}
		return byBegin(x, y)
	})
	return list[:min(len(list), tellMost)]
}

func byBegin(x, y *activity) int { return x.nth - y.nth }

// A verb is what is done with something.
type verb struct{ doing, did string }

// does is the verb of what people are told of by itself; none of others.
func (act *activity) does() verb {
	switch {
	case act.kind == buildActivity:
		return verb{"building", "built"}
	case act.kind == copyPathActivity && strings.Contains(act.text, "' from '"):
		return verb{"fetching", "fetched"}
	case act.kind == copyPathActivity:
		return verb{"copying", "copied"}
	case act.kind == fileTransferActivity && strings.Contains(act.subject, ".nar"):
		return verb{} // it belongs to a path
	case act.kind == fileTransferActivity:
		return verb{"downloading", "downloaded"}
	case act.kind == unknownActivity && strings.HasPrefix(act.text, "evaluating "),
		act.kind == unknownActivity && strings.HasPrefix(act.text, "copying "),
		act.kind == fetchTreeActivity && act.text != "":
		return verb{"", "done"} // its text says it
	}
	return verb{}
}

// labelOf is a name by which people can tell it from what else they know of.
func (a *activities) labelOf(act *activity) string {
	name := act.name()
	for _, other := range a.live {
		if other.label == name {
			return act.subject[strings.LastIndexByte(act.subject, '/')+1:]
		}
	}
	return name
}

// progress is how far something is.
func (act *activity) progress() string {
	var parts []string
	for _, p := range []string{act.phase, act.bytes(), act.machine} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}

// bytes is how much of it is done; of builds nobody knows.
func (act *activity) bytes() string {
	if act.kind != copyPathActivity && act.kind != fileTransferActivity {
		return ""
	}
	if act.done == 0 && act.expected > 0 {
		return human(act.expected) // not every nix says how much of it is done
	}
	return bytesOf(act.done, act.expected)
}

// size is how much there was of it.
func (act *activity) size() string {
	if act.bytes() == "" {
		return act.machine
	}
	return human(max(act.done, act.expected))
}

// bytesOf is how far a number of bytes is: "1.2 of 3.4 GiB".
func bytesOf(done, expected int64) string {
	if expected == 0 {
		if done == 0 {
			return ""
		}
		return human(done)
	}
	whole := human(expected)
	number, unit, _ := strings.Cut(whole, " ")
	done = min(done, expected)
	if n, err := strconv.ParseFloat(number, 64); err == nil && unit != "B" {
		return fmt.Sprintf("%.1f of %s", n*float64(done)/float64(expected), whole)
	}
	return fmt.Sprintf("%d of %s", done, whole)
}

// sum is how far nix is as a whole: "3 of 12 builds, 1.2 of 3.4 GiB".
func (a *activities) sum() string {
	var parts []string
	if t := a.total(buildsActivity); t.expected+t.failed > 0 {
		// What failed is not expected any more.
		parts = append(parts, fmt.Sprintf("%d of %s", t.done, count(int(t.expected+t.failed), "build")))
		if t.failed > 0 {
			parts = append(parts, fmt.Sprintf("%d failed", t.failed))
		}
	}
	paths := a.total(copyPathsActivity)
	paths.done = max(paths.done, a.copied) // not every nix counts paths, or the last one
	if paths.expected = max(paths.expected, a.toCopy, paths.done); paths.expected > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s", paths.done, count(int(paths.expected), "path")))
	}
	if t := a.total(copyPathActivity); t.expected > 0 {
		parts = append(parts, bytesOf(t.done, t.expected))
	}
	return strings.Join(parts, ", ")
}

// total adds up one kind as nix's own progress bar does.
func (a *activities) total(kind int) total {
	t := a.totals[kind]
	expected := t.done
	for _, act := range a.live {
		if act.kind == kind {
			t.done, t.failed = min(t.done+act.done, most), min(t.failed+act.failed, most)
			expected = min(expected+act.expected, most)
		}
	}
	t.expected = max(t.expected, expected)
	return t
}
