package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"go.starlark.net/starlark"

	"infra/runtime"
	"infra/runtime/preview"
)

// A world is what the plans of the model check look at and alter: hosts with
// paths, each with a value. Every answer follows from the world and the
// operation alone, so that a run on an equal world is an equal run.
type world struct {
	mu    sync.Mutex
	hosts map[string]map[string]string
}

var worldPaths = []string{"/p/a", "/p/b", "/q", "/q/c"}

// newWorld makes the world of a seed; "" is the machine that infra runs on.
func newWorld(seed uint64) *world {
	w := &world{hosts: map[string]map[string]string{}}
	for _, host := range []string{"", "h0", "h1", "h2"} {
		w.hosts[host] = map[string]string{}
		for _, p := range worldPaths {
			w.hosts[host][p] = wordOf(hash(fmt.Sprint(seed), host, p), worldWords)
		}
	}
	return w
}

var worldWords = []string{"a", "b", "ab", "a b", "", "7"}

func hash(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = io.WriteString(h, p+"\x00") // a hash never fails
	}
	x := h.Sum64()
	return x ^ x>>29
}

func wordOf(h uint64, from []string) string { return from[h%uint64(len(from))] }

// at is all that a host holds below a path; "/" is everything.
func (w *world) at(host, root string) string {
	var b strings.Builder
	values := w.hosts[host]
	for _, p := range slices.Sorted(maps.Keys(values)) {
		if preview.Within(p, root) {
			fmt.Fprintf(&b, "%s=%s\n", p, values[p])
		}
	}
	return b.String()
}

// saying is text of a kind, named as the types of plans are: a word, or JSON; a
// is JSON of any type.
func saying(kind string, h uint64) string {
	words := []string{wordOf(h>>3, worldWords), wordOf(h>>7, worldWords), wordOf(h>>11, worldWords)}[:h>>16%4]
	var v any
	if kind == "a" {
		if kind = wordOf(h>>30, []string{"w", "i", "S", "d"}); kind == "w" {
			text, _ := json.Marshal(wordOf(h>>5, worldWords)) // a string
			return string(text)
		}
	}
	switch kind {
	case "i":
		v = h >> 5 % 4
	case "b":
		v = h>>5%2 == 0
	case "S":
		v = words
	case "I":
		v = []uint64{h >> 3 % 4, h >> 7 % 4, h >> 11 % 4}[:h>>16%4]
	case "d":
		d := map[string]uint64{}
		for i, word := range words {
			d[word] = h >> (i + 20) % 4
		}
		v = d
	default:
		return wordOf(h>>5, worldWords) + "\n"
	}
	text, _ := json.Marshal(v) // plain data
	return string(text)
}

// take makes an operation of a real builtin one on the world: its name, its
// arguments and its prediction stay, unless the world can tell more.
func (w *world) take(op runtime.Op) runtime.Op {
	known := op.Needs == nil
	op.Settle, op.Forget = nil, nil // there is no host to ask
	switch op.Name {
	case "ssh.put", "fs.write":
		w.takePut(&op, known)
	case "fs.read", "fs.exists":
		p, kind := pathOf(op), "s"
		if op.Name == "fs.exists" {
			kind = "b"
		}
		w.takeGet(&op, known, p, kind, false)
	case "ssh.facts":
		scopedTo(&op, known, nil, runtime.Nothing)
		op.Run = func(context.Context, io.Writer) (runtime.Result, error) { return w.facts(op), nil }
	default:
		argv, _ := op.Args["command"].([]string)
		w.takeCommand(&op, known, append(argv, "", "", ""))
	}
	return op
}

func pathOf(op runtime.Op) string {
	p, _ := op.Args["path"].(string)
	return path.Clean("/" + p)
}

// scoped says what the operation looks at and alters. Where an argument is not
// known, neither is that.
func scopedTo(op *runtime.Op, known bool, looks, alters []string) {
	if known {
		op.Looks, op.Alters = looks, alters
	}
}

func (w *world) takeGet(op *runtime.Op, known bool, p, kind string, mayFail bool) {
	scopedTo(op, known, []string{p}, runtime.Nothing)
	host, command := op.Host, op.Args["command"] != nil
	op.Run = func(context.Context, io.Writer) (runtime.Result, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		h := hash(kind, p, w.at(host, p))
		if mayFail && h%4 == 0 {
			return runtime.Result{}, errors.New("it is not there")
		}
		text := saying(kind, h)
		switch {
		case command:
			return runtime.Result{Value: commandResult(text, 0, false)}, nil
		case kind == "b":
			return runtime.Result{Value: starlark.Bool(text == "true")}, nil
		}
		return runtime.Result{Value: starlark.String(text)}, nil
	}
}

func commandResult(stdout string, code int, changed bool) starlark.Value {
	return runtime.CommandResult(starlark.String(stdout), starlark.String(""), starlark.MakeInt(code), starlark.Bool(changed))
}

func (w *world) facts(op runtime.Op) runtime.Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	fact := starlark.String(wordOf(hash(w.at(op.Host, "/")), worldWords))
	return runtime.Result{Value: runtime.NewRecord("host_facts",
		runtime.Field{Name: "kernel", Value: fact}, runtime.Field{Name: "hostname", Value: starlark.String(op.Host)})}
}

// takePut writes one path, if it holds something else. Whether that will work
// only a run knows; that a path cannot be written at all a preview knows too.
func (w *world) takePut(op *runtime.Op, known bool) {
	p, content := pathOf(*op), fmt.Sprint(op.Args["content"])
	scopedTo(op, known, []string{p}, []string{p})
	host, kind := op.Host, map[string]string{"ssh.put": "put_result", "fs.write": "write_result"}[op.Name]
	differs := func() (bool, error) {
		have := w.hosts[host][p]
		if have != content && hash("refuses", p, have)%32 == 0 {
			return false, errors.New("it is a folder")
		}
		return have != content, nil
	}
	result := func(changed bool) starlark.Value {
		return runtime.NewRecord(kind, runtime.Field{Name: "changed", Value: starlark.Bool(changed)},
			runtime.Field{Name: "path", Value: starlark.String(p)})
	}
	op.Predict = func(context.Context) (runtime.Prediction, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		changes, err := differs()
		v := runtime.NoChange
		if changes {
			v = runtime.WillChange
		}
		return runtime.Prediction{Verdict: v, Value: result(changes)}, err
	}
	op.Run = func(context.Context, io.Writer) (runtime.Result, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		changes, err := differs()
		if err == nil && changes && hash("disk", p, content, w.hosts[host][p])%32 == 0 {
			err = errors.New("the disk is full")
		}
		if err != nil {
			return runtime.Result{}, err
		}
		if changes {
			w.hosts[host][p] = content
		}
		return runtime.Result{Value: result(changes), Changed: changes}, nil
	}
}

// takeCommand gives the words of a command their meaning:
//
//	get KIND PATH     a read; get! fails where the world wants it
//	look KIND         a read of everything
//	touch KIND PATH   alters PATH
//	risk KIND PATH    does so too, and fails as often as not
//	build WORD        a build: its answer follows from the word alone
//	run KIND WORD     alters what it likes, as destroy does
func (w *world) takeCommand(op *runtime.Op, known bool, argv []string) {
	switch argv[0] {
	case "get", "get!":
		w.takeGet(op, known, path.Clean("/"+argv[2]), argv[1], argv[0] == "get!")
	case "look":
		w.takeGet(op, known, "/", argv[1], false)
		op.Looks = nil
	case "touch", "risk":
		root := path.Clean("/" + argv[2])
		scopedTo(op, known, runtime.Nothing, []string{root})
		w.carryOut(op, argv, func(p string) bool { return preview.Within(p, root) })
	case "build":
		scopedTo(op, known, runtime.Nothing, runtime.Nothing)
		op.Effect = runtime.Build
		op.Run = func(context.Context, io.Writer) (runtime.Result, error) {
			return runtime.Result{Value: commandResult(saying("s", hash(argv...)), 0, true), Changed: true}, nil
		}
	case "destroy":
		scopedTo(op, known, runtime.Nothing, nil)
		op.Effect = runtime.Destroy
		predict := op.Predict
		op.Predict = func(ctx context.Context) (runtime.Prediction, error) {
			p, err := predict(ctx)
			p.Verdict = runtime.WillDestroy
			return p, err
		}
		w.carryOut(op, argv, func(string) bool { return true })
	default:
		scopedTo(op, known, runtime.Nothing, nil)
		w.carryOut(op, argv, func(string) bool { return true })
	}
}

// carryOut makes op a command that alters some of the paths that may choose.
// It may fail half way, as commands do.
func (w *world) carryOut(op *runtime.Op, argv []string, may func(string) bool) {
	host, check := op.Host, op.Args["check"] != false
	op.Run = func(context.Context, io.Writer) (runtime.Result, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		h := hash(append(argv, host, w.at(host, "/"))...)
		for i, p := range slices.Sorted(maps.Keys(w.hosts[host])) {
			if may(p) && h>>i%3 != 0 {
				w.hosts[host][p] = wordOf(h>>(i+8), worldWords)
			}
		}
		code := 0
		if h>>40%32 == 0 || argv[0] == "risk" && h>>41%2 == 0 || !check && h>>40%3 == 0 {
			code = 1
		}
		if check && code != 0 {
			return runtime.Result{}, errors.New("the command failed")
		}
		return runtime.Result{Value: commandResult(saying(argv[1], h>>4), code, true), Changed: true}, nil
	}
}
