package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// old makes a file that was written long enough ago to show every further change.
func old(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for time.Since(written(t, path)) < 2*tick {
		time.Sleep(tick)
	}
}

func written(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// counted is a read that counts how often it is carried out.
func counted(op runtime.Op, n *atomic.Int64, v starlark.Value) runtime.Op {
	if op.Same == nil {
		op.Same = func() string { return "arguments" }
	}
	op.Run = func(context.Context, io.Writer) (runtime.Result, error) {
		n.Add(1)
		return runtime.Result{Value: v}, nil
	}
	op.Predict = func(context.Context) (runtime.Prediction, error) {
		n.Add(1)
		return runtime.Prediction{Value: v}, nil
	}
	return op
}

// TestWhatEndsAKeptAnswer: each operation is asked for, something happens, and it is
// asked for again.
func TestWhatEndsAKeptAnswer(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file, gone, flake := filepath.Join(root, "file"), filepath.Join(root, "gone"), filepath.Join(root, "flake")
	if err := os.MkdirAll(flake, 0o700); err != nil {
		t.Fatal(err)
	}
	old(t, file, "text")
	changed := func(paths ...string) func(*Reads) { return func(r *Reads) { r.Changed(paths) } }
	later := func(d time.Duration) func(*Reads) {
		return func(r *Reads) {
			now := r.now()
			r.now = func() time.Time { return now.Add(d) }
		}
	}
	nothing := func(*Reads) {}
	for _, tt := range []struct {
		name string
		op   runtime.Op
		then func(*Reads)
		kept bool
	}{
		{"nothing", runtime.Op{Looks: []string{file}}, nothing, true},
		{"a file, and a year", runtime.Op{Looks: []string{file}}, later(365 * 24 * time.Hour), true},
		{"what is not there, and a year", runtime.Op{Looks: []string{gone}}, later(365 * 24 * time.Hour), true},
		{"a file that the kernel makes", runtime.Op{Looks: []string{"/proc/uptime"}}, later(time.Minute), false},
		{"a folder, and a year", runtime.Op{Looks: []string{root}}, later(365 * 24 * time.Hour), false},
		{"another file changed", runtime.Op{Looks: []string{file}}, changed(gone, file+"2"), true},
		{"the file changed", runtime.Op{Looks: []string{file}}, changed(file), false},
		{"a folder above it changed", runtime.Op{Looks: []string{file}}, changed(root), false},
		{"a file below changed", runtime.Op{Looks: []string{root}}, changed(filepath.Join(flake, "x.star")), false},
		{"a host, and 29 s", runtime.Op{Host: "h", Looks: []string{file}}, later(29 * time.Second), true},
		{"a host, and 30 s", runtime.Op{Host: "h", Looks: []string{file}}, later(30 * time.Second), false},
		{"a host that is said to be looked at nowhere, and 30 s", runtime.Op{Host: "h", Looks: runtime.Nothing}, later(30 * time.Second), false},
		{"a host, where such a file is here", runtime.Op{Host: "h", Looks: []string{file}}, changed(file), true},
		{"a host, and a file here", runtime.Op{Host: "h", Looks: []string{"/x"}, Here: []string{gone}}, changed(gone), false},
		{"a host, and a file here, and 30 s", runtime.Op{Host: "h", Looks: []string{"/x"}, Here: []string{gone}}, later(30 * time.Second), false},
		{"the network and a file, and 30 s", runtime.Op{Looks: []string{file}, Beyond: true}, later(30 * time.Second), false},
		{"a host without known paths", runtime.Op{Host: "h"}, changed(file), true},
		{"the network, and 30 s", runtime.Op{Looks: runtime.Nothing, Beyond: true}, later(30 * time.Second), false},
		{"the network, and a file", runtime.Op{Looks: runtime.Nothing, Beyond: true}, changed(file), true},
		{"who looks anywhere, and a file", runtime.Op{}, changed("/elsewhere"), false},
		{"who looks anywhere, and no file", runtime.Op{}, changed(), true},
		{"who looks anywhere, and 30 s", runtime.Op{}, later(30 * time.Second), false},
		{"a flake and its plan files", runtime.Op{Looks: []string{flake}, Flake: true}, changed(filepath.Join(flake, "plans/a.star")), true},
		{"a flake and a file", runtime.Op{Looks: []string{flake}, Flake: true}, changed(filepath.Join(flake, "flake.lock")), false},
		{"a flake, and 30 s", runtime.Op{Looks: []string{flake}, Flake: true}, later(30 * time.Second), false},
		{"a flake anywhere and a plan file", runtime.Op{Flake: true}, changed("/elsewhere/a.star"), false},
		{"everything forgotten", runtime.Op{Looks: []string{file}}, (*Reads).Forget, false},
		{"known by nothing", runtime.Op{Looks: []string{file}, Same: func() string { return "" }}, nothing, false},
		{"asked for in the round before", runtime.Op{Looks: []string{file}}, func(r *Reads) { r.Sweep(); r.Sweep() }, true},
		{"asked for two rounds before", runtime.Op{Looks: []string{file}}, func(r *Reads) { r.Sweep(); r.Sweep(); r.Sweep() }, false},
	} {
		for _, predicted := range []bool{false, true} {
			var n atomic.Int64
			r, op := NewReads(30*time.Second), counted(tt.op, &n, starlark.String("answer"))
			for i := range 2 {
				if i > 0 {
					tt.then(r)
				}
				if got := answerOf(t, r, op, predicted); got != `"answer"` {
					t.Errorf("%s: it is %s", tt.name, got)
				}
			}
			if kept := n.Load() == 1; kept != tt.kept || r.Asked() != int(n.Load()) {
				t.Errorf("%s (predicted: %v): it was asked for %d times, kept: want %v", tt.name, predicted, n.Load(), tt.kept)
			}
		}
	}
}

func answerOf(t *testing.T, r *Reads, op runtime.Op, predicted bool) string {
	t.Helper()
	if predicted {
		p, err := r.predict(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		return p.Value.String()
	}
	res, err := r.Read(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	return res.Value.String()
}

// TestWhatIsAskedForIsKept, however many rounds go by.
func TestWhatIsAskedForIsKept(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	r, op := NewReads(time.Hour), counted(runtime.Op{Host: "h"}, &n, starlark.None)
	for range 10 {
		answerOf(t, r, op, false)
		r.Sweep()
	}
	if n.Load() != 1 || len(r.kept) != 1 {
		t.Errorf("it was asked for %d times, %d are kept", n.Load(), len(r.kept))
	}
}

// TestAFileShowsThatItChanged, whoever tells of it or not.
func TestAFileShowsThatItChanged(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(path string) error{
		"written": func(p string) error { return os.WriteFile(p, []byte("TEXT"), 0o600) },
		"replaced": func(p string) error {
			return errors.Join(os.WriteFile(p+"2", []byte("TEXT"), 0o600), os.Rename(p+"2", p))
		},
		"with the time that it had": func(p string) error {
			info, err := os.Stat(p)
			return errors.Join(err, os.WriteFile(p, []byte("TEXT"), 0o600), os.Chtimes(p, info.ModTime(), info.ModTime()))
		},
		"removed":         os.Remove,
		"another mode":    func(p string) error { return os.Chmod(p, 0o640) },
		"a link":          func(p string) error { return errors.Join(os.Rename(p, p+"2"), os.Symlink(p+"2", p)) },
		"a folder":        func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
		"its folder gone": func(p string) error { return os.RemoveAll(filepath.Dir(p)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file")
			old(t, path, "text")
			var n atomic.Int64
			r, op := NewReads(time.Hour), counted(runtime.Op{Looks: []string{path}}, &n, starlark.None)
			answerOf(t, r, op, false)
			if _, err := os.ReadFile(path); err != nil { // that it was read is no change
				t.Fatal(err)
			}
			if answerOf(t, r, op, false); n.Load() != 1 {
				t.Fatalf("it was not kept: %d", n.Load())
			}
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			if answerOf(t, r, op, false); n.Load() != 2 {
				t.Error("the change does not show")
			}
		})
	}
}

// TestAFileWrittenJustNow could be written again without showing it.
func TestAFileWrittenJustNow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	old(t, path, "text")
	var n atomic.Int64
	r, op := NewReads(time.Hour), counted(runtime.Op{Looks: []string{path}}, &n, starlark.None)
	r.now = func() time.Time { return written(t, path).Add(tick / 2) }
	answerOf(t, r, op, false)
	if answerOf(t, r, op, false); n.Load() != 2 {
		t.Error("it was kept")
	}
}

// TestWhatTellsOperationsApart: none of these is answered with what another was.
func TestWhatTellsOperationsApart(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	r := NewReads(time.Hour)
	ops := []runtime.Op{
		{}, {Name: "b"}, {Host: "h"}, {Host: "i"}, {Effect: runtime.Change}, {Args: runtime.Args{"a": 1}}, {Show: "x"}, {Assumes: "x"},
		{Looks: runtime.Nothing}, {Looks: []string{"/a"}}, {Here: []string{"/a"}}, {Beyond: true}, {Flake: true},
		{Host: "h", At: &runtime.Host{Name: "h"}}, {Host: "h", At: (&runtime.Host{Name: "h"}).At(runtime.Place{Address: "a"})},
		{Same: func() string { return "other arguments" }},
	}
	for range 2 {
		for _, op := range ops {
			answerOf(t, r, counted(op, &n, starlark.None), false)
			answerOf(t, r, counted(op, &n, starlark.None), true)
		}
	}
	if want := int64(2 * len(ops)); n.Load() != want {
		t.Errorf("%d were asked for, want %d", n.Load(), want)
	}
}

func at(line int32) syntax.Position { return syntax.MakePosition(new("a.star"), line, 2) }

// TestAKeptAnswerIsNobodys: what a plan does to one does not show in the next, which
// tells of the line that asks.
func TestAKeptAnswerIsNobodys(t *testing.T) {
	t.Parallel()
	from := runtime.Unknown{Op: "m.f", Pos: at(7), Shape: runtime.StringShape}
	other := runtime.Unknown{Op: "m.g", Pos: at(8)}
	d, set := starlark.NewDict(1), starlark.NewSet(1)
	if err := errors.Join(d.SetKey(starlark.String("k"), starlark.NewList([]starlark.Value{from, other})), set.Insert(starlark.String("e"))); err != nil {
		t.Fatal(err)
	}
	value := runtime.NewRecord("r", runtime.Field{Name: "dict", Value: d}, runtime.Field{Name: "all", Value: starlark.Tuple{
		starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{"set": set}), runtime.NewSecret("s", "hidden"), starlark.None}})
	var n atomic.Int64
	r := NewReads(time.Hour)
	op := counted(runtime.Op{Name: "m.f", Pos: at(7), Host: "h"}, &n, value)
	var said [3]string
	for i := range said {
		op.Pos = at(7 + int32(i)*10)
		res, err := r.Read(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		said[i] = res.Value.String()
		got, _ := res.Value.(*runtime.Record).Attr("dict")
		list, _, _ := got.(*starlark.Dict).Get(starlark.String("k"))
		all, _ := res.Value.(*runtime.Record).Attr("all")
		inner, _ := all.(starlark.Tuple)[0].(*starlarkstruct.Struct).Attr("set")
		if err := errors.Join(list.(*starlark.List).Append(starlark.None), got.(*starlark.Dict).SetKey(starlark.None, starlark.None), inner.(*starlark.Set).Clear()); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range said {
		want := fmt.Sprintf(`r(dict = {"k": [(known after m.f, a.star:%d), (known after m.g, a.star:8)]}, all = (struct(set = set(["e"])), ‹secret s›, None))`, 7+i*10)
		if s != want {
			t.Errorf("it is\n%s, want\n%s", s, want)
		}
	}
	if n.Load() != 1 {
		t.Errorf("it was asked for %d times", n.Load())
	}
}

// TestWhatIsNotKept is asked for each time.
func TestWhatIsNotKept(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	for name, ask := range map[string]func() (said, error){
		"a failure":        func() (said, error) { return said{}, errors.New("no") },
		"what was stopped": func() (said, error) { end(); return said{}, nil },
		"a value with methods": func() (said, error) {
			return said{Prediction: runtime.Prediction{Value: starlark.Universe["len"]}}, nil
		},
		"a text that names a place": func() (said, error) {
			return said{Prediction: runtime.Prediction{Detail: "is (known after m.f, a.star:1)"}}, nil
		},
	} {
		r, ctx, n := NewReads(time.Hour), t.Context(), 0
		if name == "what was stopped" {
			ctx = ended
		}
		for range 2 {
			_, _ = r.answer(ctx, runtime.Op{Host: "h", Same: func() string { return "x" }}, false, func() (said, error) { n++; return ask() })
		}
		if n != 2 || len(r.kept) != 0 {
			t.Errorf("%s: asked %d times, %d are kept", name, n, len(r.kept))
		}
	}
}

// TestManyAskAtOnce: one operation answers all who ask meanwhile; that one of them is
// stopped, whoever it is, is nothing to the others; and nobody who asks after a change
// gets what was asked for before it.
func TestManyAskAtOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		stopFirst, change bool
		asked             int64
	}{
		"all are answered by one": {asked: 1},
		"the first is stopped":    {stopFirst: true, asked: 2},
		"a file changes":          {change: true, asked: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const others = 20
			r, begun, go_ := NewReads(time.Hour), make(chan struct{}), make(chan struct{})
			first, stop := context.WithCancel(t.Context())
			defer stop()
			var n atomic.Int64
			op := runtime.Op{Host: "h", Here: []string{"/x"}, Same: func() string { return "x" }}
			op.Run = func(ctx context.Context, _ io.Writer) (runtime.Result, error) {
				nth := n.Add(1)
				if nth == 1 {
					close(begun)
					select {
					case <-go_:
					case <-ctx.Done():
						return runtime.Result{}, fmt.Errorf("ssh: %w", ctx.Err())
					}
				}
				return runtime.Result{Value: starlark.MakeInt64(nth)}, nil
			}
			var all sync.WaitGroup
			want := starlark.MakeInt64(tt.asked)
			ask := func(ctx context.Context, want starlark.Value, fails bool) {
				res, err := r.Read(ctx, op)
				if fails != (err != nil) || err == nil && res.Value != want {
					t.Errorf("got %v, %v, want %v", res.Value, err, want)
				}
			}
			all.Go(func() { ask(first, starlark.MakeInt(1), tt.stopFirst) })
			<-begun
			early, giveUp := context.WithCancel(t.Context())
			giveUp()
			ask(early, nil, true) // who is stopped does not wait
			if tt.change {
				r.Changed([]string{"/x"})
			}
			for range others {
				all.Go(func() { ask(t.Context(), want, false) })
			}
			switch {
			case tt.stopFirst:
				stop()
			case !tt.change:
				close(go_)
			}
			if tt.change { // those after it are answered, although the first is not
				ask(t.Context(), want, false)
				close(go_)
			}
			all.Wait()
			if ask(t.Context(), want, false); n.Load() != tt.asked {
				t.Errorf("it was asked for %d times, want %d", n.Load(), tt.asked)
			}
		})
	}
}

// TestAPreviewOfWhatIsKept shows what one without shows, and asks for nothing, also
// where the plan's lines have moved.
func TestAPreviewOfWhatIsKept(t *testing.T) {
	t.Parallel()
	const plan = `
def look():
    found = local.run(["echo", "a"], reads = True).lines()
    found.append("b")
    return ",".join(found + fs.glob("*.txt"))
def change(found):
    made = local.run(["mktemp"])
    fs.write("known", found)
    fs.write(made.stdout, "text")
p = plan(steps = [step(look), step(change, needs = [look])])
`
	reads, tr := NewReads(time.Hour), newPreview(t)
	asked := 0
	for i, above := range []string{"", "", "\n\n"} {
		tr.events = nil
		tr.must(runtime.OK, above+plan, Options{Reads: reads})
		var shown []string
		for _, e := range tr.events {
			if e.Kind == runtime.OpEnded {
				shown = append(shown, e.Op.Op.Show, string(e.Op.Result))
			}
		}
		want := fmt.Sprintf("(known after local.run, a.star:%d)", 7+len(above))
		if text := strings.Join(shown, "\n"); strings.Count(text, want) != 3 || !strings.Contains(text, `"a\n"`) {
			t.Errorf("preview %d shows\n%s", i, text)
		}
		if got := strings.Join(tr.previewed(), "; "); got != "local.run; fs.glob; local.run change; fs.write unknown (before the change); fs.write unknown" {
			t.Errorf("preview %d shows %s", i, got)
		}
		if i == 0 {
			asked = reads.Asked()
		}
	}
	if asked != 4 || reads.Asked() != asked {
		t.Errorf("asked for %d, and %d in all", asked, reads.Asked())
	}
}
