package preview

import (
	"fmt"
	"testing"

	"go.starlark.net/syntax"

	"infra/runtime"
)

// fleet is a dry run of some steps on some hosts, of which each asks for a read
// and for one operation.
func fleet(hosts, steps int) []runtime.Event {
	file := "plans/fleet.star"
	start := &runtime.RunStart{Plan: &runtime.Plan{}}
	var each []*runtime.Host
	for h := range hosts {
		each = append(each, &runtime.Host{Name: fmt.Sprint("host", h)})
	}
	events := []runtime.Event{{Kind: runtime.RunStarted, Start: start}}
	for s := range steps {
		step := &runtime.Step{Name: fmt.Sprint("step", s), Each: each}
		start.Steps = append(start.Steps, step)
		for _, h := range each {
			at := runtime.Event{Step: step.Name, Host: h.Name, Status: runtime.OK, Pos: syntax.MakePosition(&file, int32(s), 5)}
			tell := func(kind runtime.EventKind, op *runtime.OpEvent) {
				at.Kind, at.Op = kind, op
				events = append(events, at)
			}
			read := &runtime.OpEvent{Op: runtime.Op{Name: "fs.read", Pos: at.Pos, Looks: []string{"/none/motd"}, Alters: runtime.Nothing}}
			put := &runtime.OpEvent{Prediction: &runtime.Prediction{Verdict: runtime.WillChange, Detail: "-a\n+b\n"}, Op: runtime.Op{
				Name: "ssh.put", Host: h.Name, Effect: runtime.Change, Show: "/etc/motd", Pos: at.Pos,
				Args: runtime.Args{"path": "/etc/motd", "content": "welcome to " + h.Name + "\n", "mode": "0644", "owner": "root:root", "argv": []any{"systemctl", "restart", "motd"}, "sudo": true}}}
			tell(runtime.OpAsked, read)
			tell(runtime.OpEnded, read)
			tell(runtime.OpAsked, put)
			tell(runtime.OpEnded, put)
			tell(runtime.StepEnded, nil)
		}
	}
	return append(events, runtime.Event{Kind: runtime.RunEnded, Status: runtime.OK})
}

// BenchmarkCollect makes the document of 1,000 hosts x 10 steps.
func BenchmarkCollect(b *testing.B) {
	runtime.NewSecret("the bench's", "swordfish-of-the-bench")
	events, root := fleet(1000, 10), b.TempDir()
	for b.Loop() {
		c := NewCollector(root)
		for _, e := range events {
			c.Read(e)
		}
		if err := c.Fill(new(Document)); err != nil {
			b.Fatal(err)
		}
	}
}

func collected10k(t testing.TB) *Document {
	c, d := NewCollector(t.TempDir()), new(Document)
	for _, e := range fleet(1000, 10) {
		c.Read(e)
	}
	if err := c.Fill(d); err != nil {
		t.Fatal(err)
	}
	return d
}

// BenchmarkDiff compares previews of 1,000 hosts x 10 steps. What does not begin
// or end a step's operations alike is what costs: in "one step" there are as many
// operations, all of one step and all done otherwise.
func BenchmarkDiff(b *testing.B) {
	hardly := collected10k(b)
	hardly.Steps[777].Operations[0].Args["mode"] = "0600"
	was := collected10k(b)
	shifted := &Document{Steps: was.Steps[1:]}
	one, other := &Document{Steps: []Step{{}}}, &Document{Steps: []Step{{}}}
	for i, s := range was.Steps {
		o := s.Operations[0]
		one.Steps[0].Operations = append(one.Steps[0].Operations, o)
		o.Args = Args{"mode": fmt.Sprint(i)}
		other.Steps[0].Operations = append(other.Steps[0].Operations, o)
	}
	for _, bench := range []struct {
		name     string
		was, now *Document
		want     int
	}{
		{"nothing changed", was, collected10k(b), 0},
		{"hardly anything", was, hardly, 1},
		{"a step less", was, shifted, 1},
		{"one step", one, other, 10000},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if found := Diff(bench.was, bench.now); len(found) != bench.want {
					b.Fatalf("%d differences", len(found))
				}
			}
		})
	}
}
