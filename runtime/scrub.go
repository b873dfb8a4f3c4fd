package runtime

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// scrub is process-wide on purpose: whatever leaves the process is scrubbed of
// every secret the process has seen, whichever run or plan it came from.
var scrub scrubber

// shortest is the length below which a value is not scrubbed: replacing every
// "on" or "22" in an output would hide the output, not the secret.
const shortest = 4

// Scrub replaces every secret the process has seen, raw or encoded, by its
// placeholder.
func Scrub(s string) string { return scrub.replace(s) }

type scrubber struct {
	mu       sync.RWMutex
	known    map[string]string // what to find -> placeholder
	longest  int
	replacer *strings.Replacer // nil: to be made again
}

// learn makes the scrubber know a value, and each of its lines if a tool may
// show them alone.
func (s *scrubber) learn(name, value string, lines bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string]string{}
	}
	for _, form := range forms(value, lines) {
		if _, ok := s.known[form]; !ok {
			s.known[form] = placeholder(name)
			s.longest = max(s.longest, len(form))
			s.replacer = nil
		}
	}
}

func (s *scrubber) replace(text string) string {
	s.mu.RLock()
	r, n := s.replacer, len(s.known)
	s.mu.RUnlock()
	if n == 0 || text == "" {
		return text
	}
	if r == nil {
		r = s.compile()
	}
	return r.Replace(text)
}

// compile puts longer forms first, because a Replacer takes the first that
// matches and a value may begin with another value.
func (s *scrubber) compile() *strings.Replacer {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make([]string, 0, len(s.known))
	for form := range s.known {
		found = append(found, form)
	}
	slices.SortFunc(found, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	pairs := make([]string, 0, 2*len(found))
	for _, form := range found {
		pairs = append(pairs, form, s.known[form])
	}
	s.replacer = strings.NewReplacer(pairs...)
	return s.replacer
}

// common are words that hide nothing as values and would, as patterns, hide
// half of every output.
var common = []string{"true", "false", "null", "none", "root", "admin", "localhost"}

// forms lists how a value may show: itself, each of its lines, and both in the
// encodings that tools print. Base64 is learned at its three alignments, so
// that it is found inside a longer encoded text.
func forms(value string, lines bool) []string {
	parts := []string{value}
	if lines && strings.ContainsAny(value, "\r\n") {
		parts = append(parts, strings.FieldsFunc(value, func(r rune) bool { return r == '\n' || r == '\r' })...)
	}
	var out []string
	for _, p := range parts {
		p = strings.TrimSpace(p)
		if len(p) < shortest || slices.Contains(common, strings.ToLower(p)) {
			continue
		}
		quoted, _ := json.Marshal(p)
		out = append(out, p, string(quoted[1:len(quoted)-1]),
			url.QueryEscape(p), url.PathEscape(p), hex.EncodeToString([]byte(p)))
		if s := strings.ReplaceAll(p, "'", `'\''`); s != p {
			out = append(out, s)
		}
		for shift := range 3 {
			out = append(out, base64Core(base64.StdEncoding, p, shift), base64Core(base64.URLEncoding, p, shift))
		}
		for _, width := range wrapWidths {
			out = append(out, wrapped(base64Core(base64.StdEncoding, p, 0), width)...)
		}
	}
	return slices.DeleteFunc(out, func(f string) bool { return len(f) < shortest })
}

// wrapWidths are the line lengths of base64(1) and of PEM.
var wrapWidths = []int{76, 64}

// wrapped is text as a tool prints it that breaks lines at width.
func wrapped(text string, width int) []string {
	if len(text) <= width {
		return nil
	}
	return slices.Collect(func(yield func(string) bool) {
		for line := range slices.Chunk([]byte(text), width) {
			if !yield(string(line)) {
				return
			}
		}
	})
}

// base64Core is the part of p's encoding that does not depend on what stands
// before or after p, when p starts at byte shift of a group of three.
func base64Core(enc *base64.Encoding, p string, shift int) string {
	text := enc.EncodeToString(append(make([]byte, shift), p...))
	first := (shift*8 + 5) / 6       // characters that hold bits of what stands before
	last := (shift + len(p)) * 8 / 6 // characters that hold only our bits
	return text[min(first, last):last]
}

// ScrubWriter scrubs what is written to w. It passes on whole lines, so that a
// secret split over two writes is found; Close passes on the rest.
type ScrubWriter struct {
	w   io.Writer
	buf []byte
}

// NewScrubWriter returns a writer that scrubs before it writes to w.
func NewScrubWriter(w io.Writer) *ScrubWriter { return &ScrubWriter{w: w} }

// heldBack bounds what a ScrubWriter keeps of a line without an end.
const heldBack = 64 << 10

// Write implements io.Writer.
func (s *ScrubWriter) Write(p []byte) (int, error) {
	s.buf = append(s.buf, p...)
	end := bytes.LastIndexByte(s.buf, '\n') + 1
	if end == 0 && len(s.buf) > heldBack {
		scrub.mu.RLock()
		end = len(s.buf) - min(len(s.buf), scrub.longest)
		scrub.mu.RUnlock()
	}
	if end == 0 {
		return len(p), nil
	}
	_, err := io.WriteString(s.w, Scrub(string(s.buf[:end])))
	s.buf = append(s.buf[:0], s.buf[end:]...)
	return len(p), err
}

// Close writes what is left. It does not close the underlying writer.
func (s *ScrubWriter) Close() error {
	_, err := io.WriteString(s.w, Scrub(string(s.buf)))
	s.buf = nil
	return err
}
