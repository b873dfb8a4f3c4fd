package preview

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// told is a list of differences as a person could be shown it.
func told(found []Difference) string {
	var b strings.Builder
	for _, d := range found {
		fmt.Fprintf(&b, "%s %s %s\n", d.Kind, d.Where(), d.What())
		was, now := d.Sides()
		for _, l := range was {
			fmt.Fprintf(&b, "- %s\n", l)
		}
		for _, l := range now {
			fmt.Fprintf(&b, "+ %s\n", l)
		}
	}
	return b.String()
}

func TestDiff(t *testing.T) {
	put := func(d *Document) *Operation { return &d.Steps[1].Operations[0] }
	for _, tt := range []struct {
		name string
		edit func(*Document)
		want string
	}{
		{"nothing", func(d *Document) {}, ""},
		{"a new step", func(d *Document) {
			d.Steps = slices.Insert(d.Steps, 1, Step{Name: "more", Status: "ok", Operations: d.Steps[0].Operations})
		}, "step_added step more \n+ nix.build .#x\n"},
		{"a step less, and another order", func(d *Document) {
			d.Steps = []Step{{Name: "last", Status: "ok"}, d.Steps[1]}
		}, "step_added step last \nstep_removed step build \n- nix.build .#x\n"},
		{"the other order", func(d *Document) { slices.Reverse(d.Steps) }, ""},
		{"another host", func(d *Document) { d.Steps[1].Host = "vps" },
			"step_added step put on vps \n+ ssh.put /etc/motd on mac\n+ ssh.run echo ? on mac\nstep_removed step put on mac \n- ssh.put /etc/motd on mac\n- ssh.run echo ? on mac\n"},
		{"another end, and a doubt", func(d *Document) {
			d.Steps[0].Status, d.Steps[0].Why, d.Steps[0].Doubts = "stopped", "not known", []string{"first?"}
		}, "step_ends step build \n- ok\n+ stopped (not known)\nstep_doubted step build \n+ first?\n"},
		{"arguments", func(d *Document) { put(d).Args["content"], put(d).Args["mode"] = "c", "0600" },
			"operation_changed step put on mac ssh.put /etc/motd on mac\n- content = \"a < b\\n\"\n+ content = \"c\"\n+ mode = \"0600\"\n"},
		{"arguments, shown by lines", func(d *Document) { put(d).Args["content"], put(d).Detail[1] = "c", "+c" },
			"operation_changed step put on mac ssh.put /etc/motd on mac\n- +b\n+ +c\n"},
		{"another path", func(d *Document) { put(d).Args["path"], put(d).Show = "/etc/issue", "/etc/issue" },
			"operation_changed step put on mac ssh.put /etc/issue on mac\n- ssh.put /etc/motd on mac\n+ ssh.put /etc/issue on mac\n"},
		{"another effect", func(d *Document) { put(d).Effect = "destroy" },
			"operation_changed step put on mac ssh.put /etc/motd on mac\n- a change: ssh.put /etc/motd on mac\n+ a destroy: ssh.put /etc/motd on mac\n"},
		{"a verdict", func(d *Document) { put(d).Verdict, put(d).Detail = "no change", nil },
			"verdict_moved step put on mac ssh.put /etc/motd on mac\n- change, -a\n+ no change\n"},
		{"a detail", func(d *Document) { put(d).Detail[0] = "-c" }, "detail_changed step put on mac ssh.put /etc/motd on mac\n- -a\n+ -c\n"},
		{"a note", func(d *Document) { put(d).Note = "offline" }, "shown_changed step put on mac ssh.put /etc/motd on mac\n- /etc/motd\n+ /etc/motd (offline)\n"},
		{"a new one of the same kind, and another content", func(d *Document) {
			issue := *put(d)
			issue.Show, issue.Args = "/etc/issue", Args{"path": "/etc/issue"}
			put(d).Args = Args{"path": "/etc/motd", "content": "c"}
			d.Steps[1].Operations = slices.Insert(d.Steps[1].Operations, 0, issue)
		}, "operation_added step put on mac ssh.put /etc/issue on mac\n+ ssh.put /etc/issue on mac\n" +
			"operation_changed step put on mac ssh.put /etc/motd on mac\n- content = \"a < b\\n\"\n+ content = \"c\"\n"},
		{"others that are called the same", func(d *Document) {
			other, last := *put(d), *put(d)
			other.Args, last.Args = Args{"path": "/etc/motd", "content": "first"}, Args{"path": "/etc/motd", "content": "last"}
			d.Steps[1].Operations = append([]Operation{other}, append(d.Steps[1].Operations, last)...)
		}, "operation_added step put on mac ssh.put /etc/motd on mac\n+ ssh.put /etc/motd on mac\n" +
			"operation_added step put on mac ssh.put /etc/motd on mac\n+ ssh.put /etc/motd on mac\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := example(t)
			tt.edit(now)
			if got := told(Diff(example(t), now)); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestALineAboveIsNoDifference: it moves every place that a preview names.
func TestALineAboveIsNoDifference(t *testing.T) {
	at := func(line int, other string) *Document {
		d := example(t)
		after := fmt.Sprintf("(known after ssh.run, plans/motd.star:%d)", line)
		run := &d.Steps[1].Operations[1]
		run.Pos, run.Needs, run.Show = fmt.Sprintf("plans/motd.star:%d:5", line), after, "echo "+after
		run.Args = Args{"command": []any{"echo", other + after}, "env": map[string]any{"A": after}}
		run.Detail, run.Note, run.Error = []string{"runs " + after}, after, fmt.Sprintf("plans/motd.star:%d:3: no", line)
		d.Steps[1].Why, d.Steps[1].Doubts = "an if is not known in a dry run "+after, []string{fmt.Sprintf("(ssh.put, plans/motd.star:%d:5)", line)}
		return d
	}
	if got := told(Diff(at(5, ""), at(7, ""))); got != "" {
		t.Errorf("got %s", got)
	}
	want := []Kind{OperationChanged}
	if got := Diff(at(5, ""), at(7, "-n")); !slices.Equal(kinds(got), want) {
		t.Errorf("got %s", told(got))
	}
}

func kinds(found []Difference) []Kind {
	var out []Kind
	for _, d := range found {
		out = append(out, d.Kind)
	}
	return out
}

// TestAlign: whatever the operations are, each is told of once and in order, as
// few as possible of them are removed and added, and what is alike comes in pairs.
func TestAlign(t *testing.T) {
	ops := func(names string) []Operation {
		list := make([]Operation, len(names))
		for i := range names {
			list[i] = Operation{Name: names[i : i+1], Args: Args{}}
		}
		return list
	}
	tell := func(was, now string) (sides [2]string, alone int) {
		align(ops(was), ops(now), func(b, a *Operation) {
			if a == nil || b == nil {
				alone++
			} else if a.Name != b.Name {
				t.Errorf("%s and %s: %s became %s", was, now, b.Name, a.Name)
			}
			for i, o := range []*Operation{b, a} {
				if o != nil {
					sides[i] += o.Name
				}
			}
		})
		return sides, alone
	}
	for _, tt := range []struct {
		was, now string
		alone    int
	}{{"", "", 0}, {"a", "", 1}, {"", "a", 1}, {"abcd", "bcda", 2}, {"abcd", "dabc", 2}, {"abab", "baba", 2}, {"aab", "ab", 1}, {"abcdef", "fbcdea", 4}} {
		if _, alone := tell(tt.was, tt.now); alone != tt.alone {
			t.Errorf("%s and %s: %d are alone", tt.was, tt.now, alone)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var texts [2]string
		for i := range texts {
			for range r.IntN(9) {
				texts[i] += string(rune('a' + r.IntN(4)))
			}
		}
		if sides, _ := tell(texts[0], texts[1]); sides != texts {
			t.Errorf("%q became %q", texts, sides)
		}
	}
}

// TestTheJSONOfADifference is what infra watch --json promises.
func TestTheJSONOfADifference(t *testing.T) {
	now := example(t)
	now.Steps[0].Status, now.Steps[0].Why = "failed", "no such attribute"
	now.Steps[1].Operations[0].Verdict, now.Steps[1].Operations[0].Detail = "no change", nil
	now.Steps = append(now.Steps, Step{Name: "more", Status: "ok"})
	got, err := json.Marshal(Diff(example(t), now))
	if err != nil {
		t.Fatal(err)
	}
	op := `{"name":"ssh.put","host":"mac","effect":"change","verdict":%s,"show":"/etc/motd","args":{"content":"a \u003c b\n","path":"/etc/motd"},%s"pos":"plans/motd.star:5:5"}`
	want := `[{"kind":"step_ends","step":"build","was_end":{"status":"ok"},"now_end":{"status":"failed","why":"no such attribute"}},` +
		`{"kind":"verdict_moved","step":"put","host":"mac","was":` + fmt.Sprintf(op, `"change"`, `"detail":["-a","+b"],`) + `,"now":` + fmt.Sprintf(op, `"no change"`, ``) + `,"was_lines":["-a","+b"]},` +
		`{"kind":"step_added","step":"more","now_end":{"status":"ok"}}]`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
