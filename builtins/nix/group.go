package nix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"infra/runtime"
	"infra/runtime/remote"
)

// groups hand derivations to nix together. Two nix that need the same wait for
// each other's locks by looking again and again, and each builds as many at a
// time as the machine is to build in all: one that knows of everything does not.
type groups struct {
	patience time.Duration // groupPatience

	mu      sync.Mutex
	inside  int    // operations that build
	next    *group // that has not begun
	running *group // that began last
}

// groupPatience is how long a group waits for the one before: what takes an hour there
// holds nothing else up. Those that have not begun by then go together.
const groupPatience = 5 * time.Second

// A group is derivations that one nix builds.
type group struct {
	ctx    context.Context // ends when all members have gone
	cancel context.CancelCauseFunc
	before *group
	work   *activities
	ended  chan struct{}
	err    error // of nix; of interest where a member's paths are not there

	mu        sync.Mutex
	members   []*member
	abandoned bool // by a member, so that nix may be at what nobody wants
}

// A member is one operation's derivation.
type member struct {
	ctx   context.Context
	log   io.Writer
	drv   string
	wants string          // as nix-store is asked for it
	needs map[string]bool // store paths that the derivation is made of, itself included
	path  string          // that it is to make
	built chan struct{}   // has something where more is built than before
	gone  bool            // the operation has ended
}

// enter counts an operation that builds, and says whether it is the only one.
func (g *groups) enter() (alone bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside++
	return g.inside == 1
}

func (g *groups) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
}

// inGroup evaluates, and builds together with others.
func (b building) inGroup(ctx context.Context, log io.Writer) (runtime.Result, error) {
	e, err := b.evaluate(ctx, log)
	if err != nil {
		return runtime.Result{}, err
	}
	here := b.here(log)
	built, err := here.holds(ctx, e.path.Path)
	if err != nil || built {
		return runtime.Result{Value: e.path}, err
	}
	if e.path.Drv == "" {
		return b.inOne(ctx, log)
	}
	needs, err := here.requisites(ctx, e.path.Drv)
	if err != nil {
		return b.inOne(ctx, log) // the derivation was collected meanwhile
	}
	me := &member{ctx: ctx, log: log, drv: e.path.Drv, path: e.path.Path, wants: e.path.Drv + "!" + strings.Join(outputsIn(e.text), ","), needs: map[string]bool{}, built: make(chan struct{}, 1)}
	for _, path := range needs {
		me.needs[path] = true
	}
	g := b.join(me)
	defer b.groups.part(g, me, false)
	for {
		select {
		case <-g.ended:
			return b.outcome(ctx, g, me, e.path)
		case <-ctx.Done():
			return runtime.Result{}, b.groups.abandon(g, me)
		case <-me.built: // who is ready does not wait for the others
			if b.ready(ctx, me) {
				return runtime.Result{Value: e.path, Changed: true}, nil
			}
		}
	}
}

// ready says whether a member's path is in the store already. nix makes paths before they
// count.
func (b building) ready(ctx context.Context, me *member) bool {
	if _, err := os.Lstat(me.path); err != nil {
		return false
	}
	there, err := b.here(io.Discard).holds(ctx, me.path)
	return err == nil && there
}

// outcome is what became of a member of a group that has ended.
func (b building) outcome(ctx context.Context, g *group, me *member, path *runtime.StorePath) (runtime.Result, error) {
	here := b.here(io.Discard)
	there, err := here.holds(ctx, path.Path)
	switch {
	case err != nil:
		return runtime.Result{}, err
	case there:
		return runtime.Result{Value: path, Changed: true}, nil
	case g.err == nil:
		return runtime.Result{}, fmt.Errorf("nix-store says that it built %s, and %s is not there", me.drv, path.Path)
	}
	failed := slices.DeleteFunc(g.work.failures(), func(f failedBuild) bool { return !me.needs[f.drv] })
	return runtime.Result{}, here.failedBuilds(ctx, path.Name(), failed, g.work.others, g.err)
}

// join adds a member to the group that goes next.
func (b building) join(me *member) *group {
	s := b.groups
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.next
	if g == nil {
		g = &group{before: s.running, ended: make(chan struct{}), work: newActivities(nil)}
		g.ctx, g.cancel = context.WithCancelCause(context.Background())
		g.work.tell = func(p runtime.Part) { g.tell("", p) }
		g.work.tellOf, g.work.logOf, g.work.built = g.tell, g.logOf, g.built
		s.next = g
		go b.carryOut(g)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(g.members, me)
	return g
}

// carryOut has nix build a group, when its time has come.
func (b building) carryOut(g *group) {
	defer close(g.ended)
	if g.before != nil {
		patience := time.NewTimer(b.groups.patience)
		defer patience.Stop()
		select {
		case <-g.before.ended:
		case <-patience.C:
		case <-g.ctx.Done():
		}
		g.before = nil
	}
	s := b.groups
	s.mu.Lock()
	if s.next == g {
		s.next = nil
	}
	s.running = g
	s.mu.Unlock()
	wanted := g.wanted()
	what := "the build of " + count(len(wanted), "derivation")
	argv := slices.Concat(internalJSON, []string{"--realise"}, wanted)
	if len(wanted) > 1 {
		argv = append(argv, "--keep-going") // for one alone it is as nix is configured
	}
	_, g.err = b.here(g.logOf("")).follow(g.ctx, g.work, what, remote.Command{Dir: b.root}, `exec nix-store "$@"`, argv...)
}

// wanted is what nix-store is asked for.
func (g *group) wanted() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := map[string]bool{}
	for _, m := range g.members {
		if !m.gone {
			all[m.wants] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// errNobody ends a group whose members have all gone.
var errNobody = errors.New("nobody waits for the build any more")

// part takes a member out: nothing is told to it any more. Where nobody is left, nix
// does not go on with what somebody has abandoned.
func (s *groups) part(g *group, me *member, abandons bool) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	me.gone, g.abandoned = true, g.abandoned || abandons
	last = !slices.ContainsFunc(g.members, func(m *member) bool { return !m.gone })
	if last && g.abandoned {
		g.cancel(errNobody)
		if s.next == g {
			s.next = nil
		}
	}
	return last
}

// abandon takes a member out whose operation is to end. nix has ended with the last one.
func (s *groups) abandon(g *group, me *member) error {
	if s.part(g, me, true) {
		<-g.ended
	}
	return context.Cause(me.ctx)
}

// of are the members that a store path is for; all, where it is none's own.
func (g *group) of(subject string) []*member {
	var own, all []*member
	for _, m := range g.members {
		if m.gone {
			continue
		}
		if all = append(all, m); m.needs[subject] {
			own = append(own, m)
		}
	}
	if len(own) > 0 {
		return own
	}
	return all
}

func (g *group) tell(subject string, p runtime.Part) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.of(subject) {
		runtime.Progress(m.ctx, p)
	}
}

// built has all members look whether theirs is.
func (g *group) built() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		select {
		case m.built <- struct{}{}:
		default: // it has not looked since
		}
	}
}

func (g *group) logOf(subject string) io.Writer { return groupLog{g, subject} }

// A groupLog writes to the logs of those whose subject it is.
type groupLog struct {
	group   *group
	subject string
}

// Write never fails: a log that cannot be written must not end what nix is at.
func (l groupLog) Write(p []byte) (int, error) {
	l.group.mu.Lock()
	defer l.group.mu.Unlock()
	for _, m := range l.group.of(l.subject) {
		_, _ = m.log.Write(p)
	}
	return len(p), nil
}
