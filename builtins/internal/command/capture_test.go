package command

import (
	"bytes"
	"strings"
	"testing"
)

func TestHeadKeepsTheBeginning(t *testing.T) {
	h := &head{}
	chunk := bytes.Repeat([]byte("x"), Limit-1)
	for _, p := range [][]byte{chunk, []byte("abc"), []byte("def")} {
		if n, err := h.Write(p); n != len(p) || err != nil {
			t.Fatalf("took %d of %d: %v", n, len(p), err)
		}
	}
	if h.kept.Len() != Limit || h.dropped != 5 || !strings.HasSuffix(h.kept.String(), "xa") {
		t.Errorf("kept %d, dropped %d", h.kept.Len(), h.dropped)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	short := &tail{}
	short.Write([]byte("all of it"))
	if short.String() != "all of it" {
		t.Errorf("kept %q", short)
	}
	long := &tail{}
	for range 3 * tailLimit / 1024 {
		long.Write(bytes.Repeat([]byte("x"), 1024))
	}
	long.Write([]byte("end"))
	s := long.String()
	if !strings.HasPrefix(s, "[") || !strings.HasSuffix(s, "xend") || len(s) < tailLimit || len(s) > 2*tailLimit+100 {
		t.Errorf("kept %d bytes, %.60q", len(s), s)
	}
}

// TestStreamsPassWholeLines: what two streams write in parts does not mix within a line.
func TestStreamsPassWholeLines(t *testing.T) {
	var log bytes.Buffer
	shared := &lockedLog{w: &log}
	a, b := &stream{log: shared}, &stream{log: shared}
	for _, w := range []struct {
		s    *stream
		text string
	}{{a, "one "}, {b, "two\nthr"}, {a, "line\n"}, {b, "ee\nrest"}} {
		w.s.Write([]byte(w.text))
	}
	a.flush()
	b.flush()
	if want := "two\none line\nthree\nrest"; log.String() != want {
		t.Errorf("got %q, want %q", log.String(), want)
	}
	log.Reset()
	a.Write(bytes.Repeat([]byte("x"), lineLimit+1))
	if log.Len() != lineLimit+1 {
		t.Errorf("a line without an end was held back: %d bytes came", log.Len())
	}
}

func TestLastLines(t *testing.T) {
	for _, tt := range []struct {
		text string
		n    int
		want string
	}{
		{"", 3, ""},
		{"a\n\n  \nb\r\nc\n", 2, "b\nc"},
		{"a\nb", 5, "a\nb"},
		{strings.Repeat("é", 300), 1, strings.Repeat("é", 200) + "…"},
	} {
		if got := LastLines(tt.text, tt.n); got != tt.want {
			t.Errorf("LastLines(%.20q, %d) = %q", tt.text, tt.n, got)
		}
	}
}
