package interp

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.starlark.net/starlark"
)

// Programs keep the files that one reading parsed, vetted and compiled for the next
// ones. What their code makes is a reading's own: a file is always run anew.
//
// A file is told by its path, its content, and by what it was compiled against. One that
// has a problem is not kept, so that each reading reports it. Of a plan, the files of
// its last reading are kept and no others.
//
// Programs may be used by several readings at once, of one project.
type Programs struct {
	mu   sync.Mutex
	last map[string]map[string]*source // by the plan that was read and the file's path
}

// find returns a file that is kept, or nil.
func (p *Programs) find(path, sum, against string) *source {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held(path, sum, against)
}

// held is find for who holds mu.
func (p *Programs) held(path, sum, against string) *source {
	for _, files := range p.last {
		if s := files[path]; s != nil && s.sum == sum && s.against == against {
			return s
		}
	}
	return nil
}

// keep keeps what a reading of the plan at main has compiled, in place of what the one
// before had. From here on nothing is written into these files any more.
func (p *Programs) keep(main string, files []*source) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := map[string]*source{}
	for _, s := range files {
		if s.sound && s.program != nil {
			// One that another reading compiled meanwhile is as good, and kept once.
			kept[s.path] = cmp.Or(p.held(s.path, s.sum, s.against), s)
		}
	}
	if p.last == nil {
		p.last = map[string]map[string]*source{}
	}
	p.last[main] = kept
}

// against names all that a file is compiled and vetted against; where no file is kept,
// nobody asks.
func (in *Interp) against(forms Forms, predeclared starlark.StringDict) string {
	if in.Programs == nil {
		return ""
	}
	specs := slices.Sorted(maps.Keys(in.specs))
	return strings.Join(slices.Concat(slices.Sorted(maps.Keys(forms)), []string{""}, predeclared.Keys(), []string{""}, specs), "\n")
}
