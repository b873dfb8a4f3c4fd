package remote

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// A said is a command of a shell with what the host does with it.
type said struct {
	cmd       *shellCommand
	name      string
	status    int
	begins    bool
	left      bool
	passed    bool   // the host passes it over
	last      bool   // nothing else was sent when it had ended
	upto      [2]int // of talk.runs: what comes of it before its end
	out, diag strings.Builder
}

// A talk is one order in which a host may say what it does with commands, by two streams
// that know nothing of each other, and in which they are sent.
type talk struct {
	t      *testing.T
	s      *shell
	choose func(of int) int
	todo   int  // commands that are still to be sent
	loud   bool // the commands print
	all    []*said
	sent   string
	chain  []*said     // of all, since nothing was under way
	runs   [2][]func() // what comes of them before their ends
	ran    [2]int      // of runs
	over   [2]int      // of their ends
	left   bool
}

func newTalk(t *testing.T, todo int, loud bool, choose func(of int) int) *talk {
	s := &shell{ready: make(chan struct{}), gone: make(chan struct{}), telling: true} // what it is told stays in its outbox
	s.session.conn = &conn{pool: &Pool{}, stream: &stream{}, endpoint: &Endpoint{}}
	s.says(stdout, "start", "")
	s.says(stderr, "start", "plain")
	return &talk{t: t, s: s, choose: choose, todo: todo, loud: loud}
}

func (h *talk) run() {
	for {
		var can []func()
		for i := range h.over {
			if h.ran[i] < len(h.runs[i]) {
				can = append(can, func() { h.runs[i][h.ran[i]](); h.ran[i]++ })
			}
			if n := h.over[i]; n < len(h.chain) && h.ran[i] >= h.chain[n].upto[i] {
				can = append(can, func() { h.end(i, h.chain[n]) })
			}
		}
		if h.todo > 0 {
			can = append(can, h.send)
		}
		if len(can) == 0 {
			break
		}
		can[h.choose(len(can))]()
		h.check()
	}
	if !h.left { // else it is taken to be the last one's
		h.s.text(stdout, []byte("of a daemon"))
		h.s.text(stderr, []byte("of a daemon"))
		h.check()
	}
}

// send does with the next command what inShell does.
func (h *talk) send() {
	fates := []said{{begins: true}, {begins: true, left: true}, {begins: true, status: 3}, {status: exitNotFound}}
	x := &fates[h.choose(len(fates))]
	x.name = strconv.Itoa(len(h.all))
	x.cmd = newShellCommand(h.s, x.name, Command{Stdout: &x.out, Stderr: &x.diag}, &gate{})
	n := len(h.chain)
	over, after := h.over == [2]int{n, n}, false
	if n > 0 {
		before := h.chain[n-1]
		x.passed = before.passed || before.status != 0
		if after = h.s.sendAfter(before.cmd, x.cmd); after == (over || h.left) {
			h.t.Fatalf("%v of %d are over, something is left: %v, and it was sent: %v", h.over, n, h.left, after)
		}
	}
	h.todo--
	switch {
	case after:
		h.sent += "after " + x.name + "\n"
	case !over || x.passed || h.left:
		h.todo = 0 // this shell gets no more
		return
	default:
		h.chain, h.runs, h.ran, h.over = nil, [2][]func(){}, [2]int{}, [2]int{}
		h.sent += "first " + x.name + "\n"
		h.s.send(x.cmd)
	}
	h.all, h.chain = append(h.all, x), append(h.chain, x)
	for i := range h.runs {
		h.runs[i] = append(h.runs[i], h.running(x, i, after)...)
		x.upto[i] = len(h.runs[i])
	}
}

func (h *talk) running(x *said, stream int, after bool) (all []func()) {
	word := func(word string) { all = append(all, func() { h.s.says(stream, word, "") }) }
	if x.passed {
		return nil
	}
	if after {
		word("next")
	}
	if stream == stderr && x.begins {
		word("begin")
	}
	if h.loud {
		all = append(all, func() { h.s.text(stream, []byte(x.name)) })
	}
	return all
}

func (h *talk) end(stream int, x *said) {
	h.over[stream]++
	n := len(h.chain)
	x.last = h.over == [2]int{n, n}
	switch {
	case x.passed:
		h.s.says(stream, "skip", "")
	case stream == stdout:
		h.s.says(stream, "end", "")
	default:
		h.left = x.left
		h.s.says(stream, "end", strconv.Itoa(x.status)+" "+map[bool]string{false: "0", true: "1"}[x.left])
	}
}

// check compares all with what is to be known of it by now.
func (h *talk) check() {
	n := len(h.chain)
	for i, x := range h.all {
		in := i - (len(h.all) - n)
		over := in < h.over[stdout] && in < h.over[stderr]
		if ready(x.cmd.told) != over {
			h.t.Fatalf("%s of %d has ended: %v, and is told: %v", x.name, len(h.all), over, !over)
		}
		if over && x.got() != x.want(h.loud) {
			h.t.Fatalf("known of %s is %s, not %s", x.name, x.got(), x.want(h.loud))
		}
	}
	lines := strings.FieldsFunc(string(h.s.outbox), func(r rune) bool { return r == '\n' })
	if told := strings.Join(lines, "\n"); told != strings.TrimSpace(h.sent) {
		h.t.Fatalf("the host was told %q, not %q", told, h.sent)
	}
	under := n > 0 && (h.left || h.over != [2]int{n, n})
	if h.s.session.conn.pool.underWay.alone(h.s.session.conn.endpoint) != under {
		h.t.Fatalf("something is under way: %v, and that is not known", under)
	}
}

func (x *said) got() string {
	c := x.cmd
	return fmt.Sprintf("%d, begun %v, passed over %v, last %v, %q, %q, %q", c.status, c.begun, c.vain, c.last, x.out.String(), x.diag.String(), c.noise.String())
}

func (x *said) want(loud bool) string {
	out, diag, noise, status := x.name, x.name, "", x.status
	if !x.begins {
		diag, noise = "", x.name
	}
	if x.passed {
		status = 0
	}
	if x.passed || !loud {
		out, diag, noise = "", "", ""
	}
	return fmt.Sprintf("%d, begun %v, passed over %v, last %v, %q, %q, %q", status, x.begins && !x.passed, x.passed, x.last, out, diag, noise)
}

// choices goes through all that can be chosen.
type choices struct {
	made, of []int
	at       int
}

func (c *choices) choose(of int) int {
	if c.at++; c.at > len(c.made) {
		c.made, c.of = append(c.made, 0), append(c.of, of)
	}
	return c.made[c.at-1]
}

func (c *choices) others() bool {
	c.at = 0
	for n := len(c.made) - 1; n >= 0; n-- {
		if c.made[n]++; c.made[n] < c.of[n] {
			return true
		}
		c.made, c.of = c.made[:n], c.of[:n]
	}
	return false
}

// TestShellHearsInAnyOrder: each command is told once, with its own end and its own text,
// however the two streams and what is sent get in between each other.
func TestShellHearsInAnyOrder(t *testing.T) {
	t.Parallel()
	for c, more := (&choices{}), true; more; more = c.others() {
		newTalk(t, 2, false, c.choose).run()
	}
	for range 1500 {
		newTalk(t, 1+rand.IntN(6), true, rand.IntN).run()
	}
}

// TestShellHearsNonsense: a host that says more than it was asked, or what has no sense,
// ends nothing of ours.
func TestShellHearsNonsense(t *testing.T) {
	t.Parallel()
	words := strings.Split("next,begin,end,end 0 0,end x y,end 3 1,skip,start,start units,gone,lock,lock held,no such word", ",")
	for range 500 {
		h := newTalk(t, 0, false, rand.IntN)
		var last *shellCommand
		for range 60 {
			stream := rand.IntN(2)
			switch x := newShellCommand(h.s, "", Command{}, &gate{}); rand.IntN(6) {
			case 0:
				if last == nil || last.last {
					h.s.send(x)
					last = x
				} else if h.s.sendAfter(last, x) {
					last = x
				}
			case 1:
				h.s.text(stream, []byte("text"))
			default:
				word, rest, _ := strings.Cut(words[rand.IntN(len(words))], " ")
				h.s.says(stream, word, rest)
			}
		}
	}
}
