package interp

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// dialect is Starlark as plans are written in it: sets and recursion (steps
// are bounded); no while, no control flow at the top level, no reassignment.
var dialect = &syntax.FileOptions{Set: true, Recursion: true}

// A source is one parsed plan file. Where it is kept, several readings have it at once.
type source struct {
	path  string // from the project's root, with slashes: what positions show
	lines []string
	sum   string       // the SHA-256 of its bytes, in hex
	file  *syntax.File // nil where it does not parse
	loads []load

	program *starlark.Program // made last; nil where the names of the file are at fault
	against string            // what for
	sound   bool              // no problem was found in it so far

	calls func() map[place]callPlace // made when first needed
}

// A place is a position within one file.
type place struct{ line, col int32 }

// A load is a load statement with the file it means.
type load struct {
	path string
	stmt *syntax.LoadStmt
}

// sources reads a file and all it loads, without running any of it.
type sources struct {
	root    string
	byPath  map[string]*source
	order   []*source        // each after what it loads
	lacking map[string]error // why nothing could be read at these paths
	reading *runtime.Reading
	kept    *Programs
	against string // what files are compiled for

	undefined starlark.StringDict // names that no file defines
}

// add reads the file at path and what it loads. via is the chain of loads that
// led here; it finds cycles before anything runs.
func (s *sources) add(path string, via []load, from syntax.Position) *source {
	if src, ok := s.byPath[path]; ok {
		return src
	}
	text, err := s.readFile(path)
	if err != nil {
		s.lacking[path] = err
		s.reading.Report(from, hintForFile(path, err), "%s", err)
		return nil
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
	src := s.kept.find(path, sum, s.against)
	if src == nil {
		src = s.parse(path, text, sum)
	}
	s.byPath[path] = src
	for _, l := range src.loads {
		chain := append(via[:len(via):len(via)], l)
		if ring := cycle(chain, l); ring != nil {
			s.reportCycle(ring)
			continue
		}
		s.add(l.path, chain, l.stmt.Module.TokenPos)
	}
	s.order = append(s.order, src)
	return src
}

func (s *sources) readFile(path string) (string, error) {
	full := filepath.Join(s.root, filepath.FromSlash(path))
	real, err := filepath.EvalSymlinks(full)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no file %s: %w", path, fs.ErrNotExist)
	}
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(s.root, real); err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s leads out of the project: %s", path, real)
	}
	data, err := os.ReadFile(real)
	return string(data), err
}

func hintForFile(path string, err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return `"//lib/x.star" is from the project's root, "x.star" from the folder of the loading file`
	}
	return "nothing above the project's root can be loaded: copy or link " + path + " into the project"
}

// parse parses a file. Where it does not parse, the broken top-level statement
// is blanked out and the rest is parsed again, so that every broken statement
// is reported, not just the first.
func (s *sources) parse(name, text, sum string) *source {
	src := &source{path: name, lines: strings.Split(text, "\n"), sum: sum, against: s.against}
	before := len(s.reading.Problems())
	defer func() { src.sound = len(s.reading.Problems()) == before }()
	src.calls = sync.OnceValue(func() map[place]callPlace { return callPlaces(src.file) })
	rest := src.lines
	for {
		file, err := dialect.Parse(name, strings.Join(rest, "\n"), 0)
		if err == nil {
			if len(rest) > 0 && &rest[0] == &src.lines[0] {
				src.file = file
			}
			src.findLoads(s, file)
			return src
		}
		var bad syntax.Error
		if !errors.As(err, &bad) {
			s.reading.Report(syntax.MakePosition(&name, 1, 1), "", "%s", err)
			return src
		}
		s.reading.Add(explainSyntax(bad, src.line(bad.Pos.Line)))
		if rest = blank(rest, int(bad.Pos.Line)); rest == nil {
			return src
		}
	}
}

// blank returns lines without the top-level statement that line is part of, or
// nil when there is nothing left to take out.
func blank(lines []string, line int) []string {
	i := min(line, len(lines)) - 1
	for i >= 0 && !startsStatement(lines[i]) {
		i--
	}
	if i < 0 {
		return nil
	}
	out := append([]string(nil), lines...)
	out[i] = ""
	for i++; i < len(out) && !startsStatement(out[i]); i++ {
		out[i] = ""
	}
	return out
}

// startsStatement says whether a line begins a top-level statement: it has
// text in the first column that is no comment and closes no bracket.
func startsStatement(line string) bool {
	return line != "" && !strings.ContainsRune(" \t\r#)]}", rune(line[0]))
}

func (src *source) findLoads(s *sources, file *syntax.File) {
	for _, stmt := range file.Stmts {
		l, ok := stmt.(*syntax.LoadStmt)
		if !ok {
			continue
		}
		target, err := resolveLoad(src.path, l.ModuleName())
		if err != nil {
			s.reading.Report(l.Module.TokenPos, `write "//plans/x.star" or "x.star"`, "%s", err)
			continue
		}
		src.loads = append(src.loads, load{target, l})
	}
}

// resolveLoad returns the file, from the root, that load(module) in from means.
func resolveLoad(from, module string) (string, error) {
	target, rooted := strings.CutPrefix(module, "//")
	if !rooted {
		target = path.Join(path.Dir(from), module)
	}
	target = path.Clean(target)
	switch {
	case module == "" || path.IsAbs(module) && !rooted:
		return "", fmt.Errorf("cannot load %q", module)
	case !filepath.IsLocal(filepath.FromSlash(target)):
		return "", fmt.Errorf("cannot load %q: nothing above the project's root loads", module)
	case path.Ext(target) != ".star":
		return "", fmt.Errorf("cannot load %q: plan files end in .star", module)
	}
	return target, nil
}

// cycle returns the part of chain that leads from l's file back to itself, or
// nil.
func cycle(chain []load, l load) []load {
	for i := range chain {
		if chain[i].stmt.Module.TokenPos.Filename() == l.path {
			return chain[i:]
		}
	}
	return nil
}

func (s *sources) reportCycle(ring []load) {
	var b strings.Builder
	for _, l := range ring {
		pos := l.stmt.Module.TokenPos
		fmt.Fprintf(&b, "%s:%d -> ", pos.Filename(), pos.Line)
	}
	b.WriteString(ring[0].stmt.Module.TokenPos.Filename())
	s.reading.Report(ring[len(ring)-1].stmt.Module.TokenPos,
		"move what both need into a file that loads neither", "these files load each other in a ring: %s", b.String())
}

// line returns line n, counted from 1, or "".
func (src *source) line(n int32) string {
	if n < 1 || int(n) > len(src.lines) {
		return ""
	}
	return strings.TrimRight(src.lines[n-1], "\r")
}

// Sources returns every file that was read, and what was observed while they
// were, sorted by path.
func (f *File) Sources() []runtime.Source {
	digests := make(map[string]string, len(f.sources))
	for name, src := range f.sources {
		digests[name] = src.sum
	}
	maps.Copy(digests, f.seen)
	return runtime.SourcesOf(digests)
}

// An Input is a file that a reading asked for.
type Input struct {
	Path    string // from the project's root, as it is loaded
	SHA256  string // of what was read, in hex; "" where nothing could be
	Missing bool   // there is no such file
}

// inputs returns every file that was asked for, sorted by path.
func (s *sources) inputs() []Input {
	var all []Input
	for name, src := range s.byPath {
		all = append(all, Input{Path: name, SHA256: src.sum})
	}
	for name, err := range s.lacking {
		all = append(all, Input{Path: name, Missing: errors.Is(err, fs.ErrNotExist)})
	}
	slices.SortFunc(all, func(a, b Input) int { return cmp.Compare(a.Path, b.Path) })
	return all
}
