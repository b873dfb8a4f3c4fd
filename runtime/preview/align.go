package preview

import (
	"encoding/json"
	"slices"
	"sort"
	"strings"
)

// likenesses are what operations of two previews belong together by, one after
// the other: they do the same; they are called the same; they are of one kind. Of
// what lies between two pairs, the next one makes pairs.
var likenesses = []func(*Operation) string{
	(*Operation).identity,
	func(o *Operation) string { return o.kind() + "\x00" + placeless(o.Show) },
	(*Operation).kind,
}

// kind is of operations that are the same thing done otherwise.
func (o *Operation) kind() string { return o.Name + "\x00" + o.Host }

// identity is of operations that are the same, whatever is foreseen of them.
func (o *Operation) identity() string {
	args, _ := json.Marshal(o.Args) // they are JSON's own types
	return placeless(strings.Join([]string{o.kind(), o.Effect, o.Needs, string(args)}, "\x00"))
}

// align tells of the operations of one step in order: in pairs, and alone where
// one was removed or added. It takes a time that is nearly linear in their number,
// and no arguments are encoded of what begins and ends both lists.
func align(was, now []Operation, tell func(was, now *Operation)) {
	head := 0
	for head < min(len(was), len(now)) && was[head].same(now[head]) {
		tell(&was[head], &now[head])
		head++
	}
	was, now = was[head:], now[head:]
	tail := 0
	for tail < min(len(was), len(now)) && was[len(was)-1-tail].same(now[len(now)-1-tail]) {
		tail++
	}
	alignBy(likenesses, was[:len(was)-tail], now[:len(now)-tail], tell)
	was, now = was[len(was)-tail:], now[len(now)-tail:]
	for i := range was {
		tell(&was[i], &now[i])
	}
}

func alignBy(likenesses []func(*Operation) string, was, now []Operation, tell func(was, now *Operation)) {
	i, j := 0, 0
	if len(was) > 0 && len(now) > 0 && len(likenesses) > 0 {
		for _, p := range pairsOf(was, now, likenesses[0]) {
			alignBy(likenesses[1:], was[i:p.was], now[j:p.now], tell)
			tell(&was[p.was], &now[p.now])
			i, j = p.was+1, p.now+1
		}
		alignBy(likenesses[1:], was[i:], now[j:], tell)
		return
	}
	for k := range was {
		tell(&was[k], nil)
	}
	for k := range now {
		tell(nil, &now[k])
	}
}

// A pair are the indices of two operations that belong together.
type pair struct{ was, now int }

// pairsOf returns as many pairs of operations that are alike as stand in the same
// order on both sides. Of several that are alike, the first belongs to the first.
func pairsOf(was, now []Operation, like func(*Operation) string) []pair {
	places := map[string][]int{}
	for j := range now {
		key := like(&now[j])
		places[key] = append(places[key], j)
	}
	var all []pair
	for i := range was {
		key := like(&was[i])
		if at := places[key]; len(at) > 0 {
			all, places[key] = append(all, pair{i, at[0]}), at[1:]
		}
	}
	return rising(all)
}

// rising returns the longest part of pairs in which both sides rise, of equally
// long ones the one that begins first.
func rising(all []pair) []pair {
	next := make([]int, len(all)) // in the longest part that begins with a pair
	var first []int               // first[n] is the pair, furthest on among what is now, with which n+1 pairs begin
	for i, p := range slices.Backward(all) {
		n := sort.Search(len(first), func(n int) bool { return all[first[n]].now < p.now })
		if next[i] = -1; n > 0 {
			next[i] = first[n-1]
		}
		if n == len(first) {
			first = append(first, 0)
		}
		first[n] = i
	}
	var out []pair
	if len(first) > 0 {
		for i := first[len(first)-1]; i >= 0; i = next[i] {
			out = append(out, all[i])
		}
	}
	return out
}
