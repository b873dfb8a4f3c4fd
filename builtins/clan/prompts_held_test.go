package clan

import (
	"fmt"
	"strings"
	"testing"
)

// TestLastLines: what is kept is the end of what was written, of whole lines,
// and no more than twice the limit, however it came.
func TestLastLines(t *testing.T) {
	for _, size := range []int{1, 3, 7, 1000} {
		l := &lastLines{limit: 20}
		var all strings.Builder
		for i := range 40 {
			fmt.Fprintf(&all, "line %d\n", i)
		}
		all.WriteString(strings.Repeat("x", 50) + "\nthe last one\nand a rest")
		for rest := all.String(); rest != ""; {
			n := min(size, len(rest))
			if wrote, err := l.Write([]byte(rest[:n])); wrote != n || err != nil {
				t.Fatal(wrote, err)
			}
			rest = rest[n:]
			if len(l.kept) > 2*l.limit {
				t.Fatalf("%d bytes are kept", len(l.kept))
			}
		}
		if int(l.dropped)+len(l.kept) != all.Len() || !strings.HasSuffix(all.String(), "\n"+string(l.kept)) {
			t.Errorf("by %d: dropped %d of %d, kept %q", size, l.dropped, all.Len(), l.kept)
		}
		if !strings.HasSuffix(l.String(), "and a rest") || !strings.HasPrefix(l.String(), fmt.Sprintf("[%d bytes", l.dropped)) {
			t.Errorf("by %d: %q", size, l)
		}
	}
	short := &lastLines{limit: 20}
	fmt.Fprint(short, "all of it")
	if short.String() != "all of it" {
		t.Errorf("%q", short)
	}
}
