package engine

import (
	"errors"
	"testing"
)

// shrink leaves out of a plan whatever it can while the dry run still lies.
func (b *bench) shrink(t testing.TB, p *modelPlan, seed uint64) *modelPlan {
	lies := func() bool {
		for range 3 { // the order of steps that run side by side is not fixed
			_, _, err := b.try(t, p.String(), seed)
			if err != nil && !errors.As(err, new(errInvalid)) {
				return true
			}
		}
		return false
	}
	for again := true; again; {
		again = shrinkList(&p.nodes, lies)
	}
	return p
}

// shrinkList tries to leave out nodes, and to put a node's body in its place.
func shrinkList(list *[]*node, lies func() bool) (smaller bool) {
	for i := len(*list) - 1; i >= 0; i-- {
		whole := *list
		if *list = without(whole, i, nil); lies() {
			smaller = true
			continue
		}
		*list = whole
		n := whole[i]
		for _, a := range n.arms {
			if len(a.body) == 0 || a.leaf {
				continue
			}
			if *list = without(whole, i, a.body); lies() {
				return true
			}
			*list = whole
		}
		smaller = shrinkArms(n, lies) || smaller
	}
	return smaller
}

func shrinkArms(n *node, lies func() bool) (smaller bool) {
	for i := len(n.arms) - 1; i >= 0; i-- {
		if i > 0 {
			all := n.arms
			if n.arms = without(all, i, nil); lies() {
				smaller = true
				continue
			}
			n.arms = all
		}
		if !n.arms[i].leaf {
			smaller = shrinkList(&n.arms[i].body, lies) || smaller
		}
	}
	return smaller
}

// without is list with what stands at i replaced.
func without[T any](list []T, i int, by []T) []T {
	out := append([]T(nil), list[:i]...)
	return append(append(out, by...), list[i+1:]...)
}
