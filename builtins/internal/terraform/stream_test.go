package terraform

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"infra/runtime"
)

// What is said of a resource, without what a person does not need.
func TestStream(t *testing.T) {
	line := func(kind, at, hook string) string {
		return fmt.Sprintf(`{"@level":"info","@message":"m","@timestamp":"2026-01-02T03:04:%sZ","type":%q,"hook":%s}`, at, kind, hook)
	}
	resource := func(addr, action, more string) string {
		return fmt.Sprintf(`{"resource":{"addr":%q},"action":%q%s}`, addr, action, more)
	}
	var log bytes.Buffer
	var parts []string
	s := &stream{log: newLog(&log), total: 3, part: func(p runtime.Part) {
		parts = append(parts, fmt.Sprintf("%s %s %v %s %s %d/%d", p.Name, p.Does, p.Over, p.Took, p.Detail, p.Nth, p.Of))
	}}
	for _, l := range []string{
		`{"@level":"info","@message":"Terraform 1","@timestamp":"2026-01-02T03:04:00Z","type":"version"}`,
		"plain text", "", "{broken", `{"no":"message"}`,
		line("apply_start", "01.0", resource("a.x", "create", "")),
		line("apply_start", "02.5", resource("a.y", "delete", "")),
		line("apply_progress", "11.0", resource("a.x", "create", `,"elapsed_seconds":10`)),
		line("apply_complete", "13.3", resource("a.x", "create", `,"id_key":"id","id_value":"42","elapsed_seconds":12`)),
		line("provision_progress", "14.0", `{"resource":{"addr":"a.y"},"provisioner":"local-exec","output":"hello\n"}`),
		line("apply_errored", "15.0", resource("a.y", "delete", "")),
		line("apply_complete", "15.0", resource("data.z", "read", `,"elapsed_seconds":2`)),
		line("apply_complete", "15.0", resource("a.late", "update", `,"elapsed_seconds":61`)),
		line("apply_start", "16.0", resource("a.w", "update", "")),
		`{"@level":"warn","@message":"w","type":"diagnostic","diagnostic":{"severity":"warning","summary":"old","detail":"two\nlines"}}`,
		`{"@level":"error","@message":"e","type":"diagnostic","diagnostic":{"severity":"error","summary":"bad","detail":"why","address":"a.y","range":{"filename":"main.tf","start":{"line":7}}}}`,
		`{"@level":"info","@message":"Outputs: 1","type":"outputs","outputs":{"o":{"sensitive":false,"type":"string","value":"v"}}}`,
		`{"@level":"info","@message":"without a type"}`,
	} {
		s.stdout([]byte(l))
	}
	want := `plain text
{broken
{"no":"message"}
a.x: creating
a.y: deleting
a.x: still creating (10.0s)
a.x: created in 12.3s (id 42), 1 of 3
a.y (local-exec): hello
a.y: deleting failed after 12.5s
data.z: read in 2.0s
a.late: updated in 1m1s, 2 of 3
a.w: updating
warning: old: two lines
without a type
`
	if log.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &log, want)
	}
	if want := []string{
		"a.x creating false 0s  0/3", "a.y deleting false 0s  0/3", "a.x created true 12.3s id 42 1/3", "a.y deleting failed true 12.5s  2/3",
		"data.z read true 2s  2/3", "a.late updated true 1m1s  3/3", "a.w updating false 0s  0/3",
	}; !slices.Equal(parts, want) {
		t.Errorf("the parts are %q", parts)
	}
	if !slices.Equal(s.done, []Done{{"a.x", "create", "42", 12300 * time.Millisecond}, {"a.late", "update", "", 61 * time.Second}}) {
		t.Errorf("done: %v", s.done)
	}
	if got, want := s.said("dir", ""), "dir/main.tf:7: bad: why (a.y)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := s.howFar(nil), "done: a.late (updated), a.x (created)\nfailed: a.y (deleting)\nin flight when it ended: a.w (updating)\n"+
		"the state holds what was done, and the next plan goes on from there"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if string(s.outputs["o"].Value) != `"v"` {
		t.Errorf("outputs: %v", s.outputs)
	}
}

// An old terraform says some things in plain words only.
func TestPlainWords(t *testing.T) {
	s := &stream{log: newLog(nil)}
	for _, line := range []string{"Initializing the backend...", "╷", "│ Error: bad", "│ ", "│   on main.tf line 4, in variable \"x\":", "│    4:   y = 1", "╵"} {
		s.stdout([]byte(line))
	}
	if got, want := s.said("dir", "ended"), "Error: bad\ndir/main.tf:4: \n4:   y = 1"; got != want || !s.has("bad") || s.has("line 4") {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUnboxed(t *testing.T) {
	if got, want := unboxed("╷\n│ Error: bad\n│ \n│ why\n╵\n\n"), "Error: bad\nwhy"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

const lockDetail = "Error message: resource temporarily unavailable\nLock Info:\n  ID:        06a6be0d-9607\n  Path:      terraform.tfstate\n" +
	"  Operation: OperationTypeApply\n  Who:       root@vm\n  Version:   1.11.4\n  Created:   2026-11-23 06:44:35.2 +0000 UTC\n  Info:      \n\n\nTerraform acquires"

func TestHolder(t *testing.T) {
	for _, tt := range []struct{ detail, want string }{
		{lockDetail, "held by root@vm since 2026-11-23 06:44:35.2 +0000 UTC, Apply, id 06a6be0d-9607"},
		{"ID: before\nLock Info:\n  Who:   \n", "held by somebody"},
		{"", "held by somebody"},
	} {
		if got := parseHolder(tt.detail).String(); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.detail, got, tt.want)
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(`{"@level":"info","@message":"x","@timestamp":"2026-01-02T03:04:05Z","type":"apply_complete","hook":{"resource":{"addr":"a"},"action":"create","id_value":3,"elapsed_seconds":1e300}}`)
	f.Add("{\"type\":\"outputs\",\"outputs\":null}\nplain\n{\"@level\":\"e\",\"diagnostic\":{\"range\":null}}")
	f.Add(`{"type":"diagnostic","diagnostic":{"severity":"error","summary":"Error acquiring the state lock","detail":"Lock Info:\n  ID: 1"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var log bytes.Buffer
		s := &stream{log: newLog(&log), planning: true, total: 2}
		tl := &tail{each: s.stdout, file: strings.NewReader(text)}
		if err := tl.read(true); err != nil {
			t.Fatal(err)
		}
		for _, d := range s.done {
			if d.Took < 0 {
				t.Errorf("it took %s", d.Took)
			}
		}
		_, _ = s.lockedBy()
		_, _, _ = s.said("x", "ended"), s.howFar(nil), s.wantsInit()
		if log.Len() > 0 && !strings.HasSuffix(log.String(), "\n") {
			t.Error("a line without an end")
		}
	})
}

func FuzzHolder(f *testing.F) {
	f.Add(lockDetail)
	f.Add("Lock Info:\nWho:\t\n ID:x")
	f.Fuzz(func(t *testing.T, detail string) {
		h := parseHolder(detail)
		for _, v := range []string{h.ID, h.Who, h.Created, h.Operation, h.Path} {
			if strings.Contains(v, "\n") || strings.TrimSpace(v) != v {
				t.Errorf("%q", v)
			}
		}
		if !strings.HasPrefix(h.String(), "held by ") {
			t.Error(h)
		}
	})
}

func FuzzNamesBackend(f *testing.F) {
	f.Add([]byte(`{"terraform":[{"backend":{}}]}`))
	f.Fuzz(func(t *testing.T, config []byte) { _, _ = namesBackend(config) })
}

// Lines come whole, however they are written, and each stream's in order.
func TestFollow(t *testing.T) {
	s, err := newScratch()
	must(t, err)
	defer s.close()
	long := strings.Repeat("x", 300<<10)
	var got []string
	first := make(chan struct{})
	over, ended := make(chan struct{}), make(chan error)
	go func() {
		ended <- s.follow(over, func(l []byte) {
			got = append(got, string(l))
			if len(got) == 1 {
				close(first)
			}
		}, func(l []byte) { got = append(got, "err "+string(l)) })
	}()
	fmt.Fprint(s.stdout, "one\ntw")
	<-first
	fmt.Fprint(s.stdout, "o\n"+long+"\nlast")
	fmt.Fprint(s.stderr, "oops\n")
	close(over)
	must(t, <-ended)
	if want := []string{"one", "two", long, "last", "err oops"}; !slices.Equal(got, want) {
		t.Errorf("got %d lines: %.200q", len(got), got)
	}
	if info, err := os.Stat(s.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestOperations(t *testing.T) {
	change := func(mode tfjson.ResourceMode, actions ...tfjson.Action) *tfjson.ResourceChange {
		return &tfjson.ResourceChange{Mode: mode, Change: &tfjson.Change{Actions: actions}}
	}
	s := &Saved{Plan: &tfjson.Plan{ResourceChanges: []*tfjson.ResourceChange{
		change(tfjson.ManagedResourceMode, "delete", "create"), change(tfjson.ManagedResourceMode, "no-op"),
		change(tfjson.ManagedResourceMode, "update"), change(tfjson.DataResourceMode, "read"), {Mode: tfjson.ManagedResourceMode},
	}}}
	if n := s.operations(); n != 3 {
		t.Errorf("%d operations", n)
	}

}
