package nix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"infra/runtime"
)

// grouped are the systems of some hosts, which share a library. Of first the build goes on when
// there is a gate, of bad what only it needs fails, and so does what two need.
const grouped = `{
  outputs = { self }:
    let
      raw = name: script: builtins.derivation {
        inherit name; salt = "SALT"; system = "x86_64-linux";
        builder = "/bin/sh"; args = [ "-euc" script ]; PATH = "/usr/bin:/bin";
      };
      lib = raw "lib" "echo lib speaks; echo > $out";
      broken = raw "broken" "echo no luck; exit 3";
      host = name: needs: raw name ": ${lib} ${toString needs}; echo ${name} speaks; echo > $out";
    in {
      first = raw "first" "until [ -e GATE ]; do sleep 0.05; done; echo > $out";
      one = host "one" [ ]; two = host "two" [ ]; three = host "three" [ ];
      bad = host "bad" [ broken ]; worse = host "worse" [ broken (raw "other" "exit 4") ];
      never = raw "never" "echo runs; sleep 1000";
    };
}
`

// A build is one operation that runs.
type build struct {
	mu     sync.Mutex
	log    bytes.Buffer
	says   chan struct{} // has something where something was said
	end    context.CancelCauseFunc
	ended  chan struct{}
	result runtime.Result
	err    error
}

func (b *build) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.says <- struct{}{}:
	default:
	}
	return b.log.Write(p)
}

func (b *build) said() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

// groupedModule is one of which another operation builds already.
func groupedModule(t *testing.T) (m module, gate string, start func(attribute string) *build) {
	t.Helper()
	root, flake := plainFlake(t, "x")
	t.Setenv("NIX_CONFIG", os.Getenv("NIX_CONFIG")+"max-jobs = 4\n")
	gate = filepath.Join(root, "gate")
	text := strings.NewReplacer("SALT", fmt.Sprint(time.Now().UnixNano()), "GATE", gate).Replace(grouped)
	writeFile(t, filepath.Join(flake, "flake.nix"), []byte(text))
	m = New(Config{Root: root, Turns: NewTurns(2, nil)}).module
	m.groups.patience = time.Hour
	m.groups.enter()
	return m, gate, func(attribute string) *build {
		b := &build{says: make(chan struct{}, 1), ended: make(chan struct{})}
		ctx, end := context.WithCancelCause(t.Context())
		b.end = end
		go func() {
			defer close(b.ended)
			b.result, b.err = building{m, flake + "#" + attribute}.run(ctx, b)
		}()
		t.Cleanup(func() { end(errNobody); <-b.ended })
		return b
	}
}

// waiting waits until so many are in the group that goes next.
func (s *groups) waiting(t *testing.T, n int) {
	t.Helper()
	for is := -1; is != n; {
		if t.Context().Err() != nil {
			t.Fatalf("%d wait", is)
		}
		time.Sleep(time.Millisecond)
		s.mu.Lock()
		if is = 0; s.next != nil {
			s.next.mu.Lock()
			is = len(s.next.members)
			s.next.mu.Unlock()
		}
		s.mu.Unlock()
	}
}

func (b *build) saying(t *testing.T, what string) {
	t.Helper()
	for !strings.Contains(b.said(), what) {
		select {
		case <-b.says:
		case <-b.ended:
			t.Fatalf("it ended: %v\n%s", b.err, b.said())
		}
	}
}

// TestGroup: what waits for one build goes as one, a failure is of those alone who
// need what failed, and each log is of its own.
func TestGroup(t *testing.T) {
	m, gate, start := groupedModule(t)
	first := start("first")
	first.saying(t, "building '/nix/store/")
	names := []string{"one", "two", "bad", "worse", "three"}
	all := map[string]*build{}
	for i, name := range names {
		all[name] = start(name)
		m.groups.waiting(t, i+1)
	}
	together := m.groups.next
	gone := errors.New("it is not wanted")
	all["three"].end(gone)
	if <-all["three"].ended; !errors.Is(all["three"].err, gone) {
		t.Errorf("three ended with %v", all["three"].err)
	}
	writeFile(t, gate, nil)
	for name, want := range map[string]string{"one": "", "two": "",
		"bad":   "the build of bad failed: the build of broken failed with exit code 3 in /nix/store/",
		"worse": "the build of worse failed:\n"} {
		b := all[name]
		<-b.ended
		log := b.said()
		if !strings.Contains(log, "lib> lib speaks\n") || strings.Contains(log, "> "+name+" speaks\n") != (want == "") || strings.Contains(log, "no luck") == (want == "") {
			t.Errorf("the log of %s is\n%s", name, log)
		}
		for other := range all {
			if other != name && strings.Contains(log, other+" speaks") {
				t.Errorf("the log of %s has that of %s:\n%s", name, other, log)
			}
		}
		if want != "" {
			if b.err == nil || !strings.HasPrefix(b.err.Error(), want) || strings.Contains(b.err.Error(), "other") != (name == "worse") {
				t.Errorf("%s ended with %v", name, b.err)
			}
			continue
		}
		path, ok := b.result.Value.(*runtime.StorePath)
		if b.err != nil || !ok || path.Name() != name || !b.result.Changed {
			t.Errorf("%s: %v, %v", name, b.result, b.err)
			continue
		}
		if _, err := os.Stat(path.Path); err != nil {
			t.Error(err)
		}
	}
	if <-together.ended; m.groups.running != together || len(together.members) != len(names) {
		t.Errorf("%d went together", len(together.members))
	}
	if built, err := m.here(io.Discard).holds(t.Context(), together.members[4].drv); err != nil || !built {
		t.Errorf("the derivation of three: %v, %v", built, err)
	}
	if <-first.ended; first.err != nil || !first.result.Changed {
		t.Errorf("first: %v", first.err)
	}
}

// TestGroupIsNotHeldUp: who is built does not wait for others, what waits for long goes
// all the same, and nix ends with the last who wants something of it.
func TestGroupIsNotHeldUp(t *testing.T) {
	m, gate, start := groupedModule(t)
	first := start("first")
	first.saying(t, "building '/nix/store/")
	never := start("never")
	m.groups.waiting(t, 1)
	one := start("one")
	m.groups.waiting(t, 2)
	together := m.groups.next
	writeFile(t, gate, nil)
	never.saying(t, "never> runs")
	if <-one.ended; one.err != nil {
		t.Error(one.err)
	}
	m.groups.patience = 0
	two := start("two")
	if <-two.ended; two.err != nil {
		t.Error(two.err)
	}
	select {
	case <-together.ended:
		t.Error("nix has ended though somebody waits")
	default:
	}
	never.end(errNobody)
	<-never.ended
	select {
	case <-together.ended:
	default:
		t.Error("nix goes on though nobody waits")
	}
}
