package watch

import "path/filepath"

// A name is what tells inputs apart.
type name struct {
	path string
	tree bool
}

// An input is an Input with what is known of it.
type input struct {
	name
	way    way
	stale  bool // its way is to be found again
	polled bool

	files   map[string]*record // by path below the input's; "" is the input itself
	folders map[string]bool    // real paths of a Tree's folders, where they are watched
	touched map[string]bool    // which of files are to be looked at
}

// A record is what is known of a file.
type record struct {
	path   string // as it is told
	in     *input
	rel    string // its key in in.files
	told   string // the digest that was told last, or given to Set
	digest string // the digest as of the last look
	stamp  stamp  // as of then
	sure   bool   // the same stamp means the same content
}

// set makes the inputs the wanted ones, which are given with their digests.
func (w *Watcher) set(wanted map[name]string) {
	for n, in := range w.inputs {
		if _, ok := wanted[n]; !ok {
			w.drop(in)
		}
	}
	for n, digest := range wanted {
		in := w.inputs[n]
		if in == nil {
			in = w.add(n)
		}
		if digest != "" && !n.tree {
			w.expect(in.files[""], digest)
		}
	}
	if len(w.stirred) > 0 && w.first.IsZero() {
		w.stir()
	}
	w.withdraw()
}

// expect makes digest the content that the file is compared with. Where that is
// not what we saw, our look may be older than the caller's.
func (w *Watcher) expect(r *record, digest string) {
	if r.told == digest {
		return
	}
	r.told = digest
	w.compare(r)
	if r.digest != digest {
		w.touch(r.in, "")
	}
}

// add takes up an input. What is there now is what it is compared with.
func (w *Watcher) add(n name) *input {
	in := &input{name: n, files: map[string]*record{}, folders: map[string]bool{}, touched: map[string]bool{}}
	in.polled = w.fs == nil || n.tree && !watchesTrees
	w.inputs[n] = in
	w.locksKnown = false
	w.find(in)
	w.touch(in, "")
	w.scan(in, "")
	for r := range w.lookAll(in) {
		r.told = r.digest
		w.compare(r)
	}
	if in.polled {
		w.startPolling()
	}
	return in
}

// lookAll looks at all that was touched of an input that is new, and yields the
// records. What is being written just now stays touched.
func (w *Watcher) lookAll(in *input) map[*record]bool {
	seen := map[*record]bool{}
	unsteady := map[string]bool{}
	for len(in.touched) > 0 {
		for rel := range in.touched {
			delete(in.touched, rel)
			if w.look(in, rel, true, false) == unsteadily {
				unsteady[rel] = true
				w.look(in, rel, false, false)
			}
			if r := in.files[rel]; r != nil {
				seen[r] = true
			}
		}
	}
	delete(w.stirred, in)
	for rel := range unsteady {
		w.touch(in, rel)
	}
	return seen
}

func (w *Watcher) drop(in *input) {
	w.leave(in)
	for _, r := range in.files {
		delete(w.changed, r)
	}
	delete(w.stirred, in)
	delete(w.inputs, in.name)
	w.locksKnown = false
}

// touch notes what is to be looked at when the window closes.
func (w *Watcher) touch(in *input, rel string) {
	if !in.touched[rel] {
		w.touches++
	}
	in.touched[rel] = true
	w.stirred[in] = true
}

// compare files the record among the changed or not.
func (w *Watcher) compare(r *record) {
	if r.digest != r.told {
		w.changed[r] = true
		return
	}
	delete(w.changed, r)
	if r.digest == Absent && r.rel != "" {
		delete(r.in.files, r.rel)
	}
}

func (in *input) record(rel string) *record {
	r := in.files[rel]
	if r == nil {
		r = &record{path: filepath.Join(in.path, rel), in: in, rel: rel, told: Absent, digest: Absent}
		in.files[rel] = r
	}
	return r
}
