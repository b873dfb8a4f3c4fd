package clan

import (
	"bytes"
	"fmt"
)

// lastLines keeps the end of what is written to it, about limit bytes. It drops
// whole lines: of a secret whose beginning is gone nobody could tell that it is
// one.
type lastLines struct {
	limit   int
	kept    []byte
	dropped int64
	within  bool // a line of which the beginning was dropped
}

// Write never fails.
func (l *lastLines) Write(p []byte) (int, error) {
	n := len(p)
	if l.within {
		end := bytes.IndexByte(p, '\n') + 1
		if l.within = end == 0; l.within {
			end = n
		}
		l.dropped, p = l.dropped+int64(end), p[end:]
	}
	l.kept = append(l.kept, p...)
	if len(l.kept) > 2*l.limit { // not each time: dropping copies the rest
		l.drop(len(l.kept) - l.limit)
	}
	return n, nil
}

// drop drops the first n bytes, and the line that they end in.
func (l *lastLines) drop(n int) {
	if end := bytes.IndexByte(l.kept[n-1:], '\n'); end >= 0 {
		n += end
	} else {
		n, l.within = len(l.kept), true
	}
	l.dropped += int64(n)
	l.kept = append(l.kept[:0], l.kept[n:]...)
}

func (l *lastLines) String() string {
	if l.dropped == 0 {
		return string(l.kept)
	}
	return fmt.Sprintf("[%d bytes before this were not kept]\n%s", l.dropped, l.kept)
}
