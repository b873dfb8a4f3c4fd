package remote

import (
	"errors"
	"io"
	"sync"
)

// tail keeps the end of what is written to it.
type tail struct {
	limit int

	mu  sync.Mutex
	buf []byte
	cut bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
		t.cut = true
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut {
		return "… " + string(t.buf)
	}
	return string(t.buf)
}

// whole keeps all that is written to it, up to its limit.
type whole struct {
	limit int64
	buf   []byte
	over  bool // there was more
}

func (w *whole) Write(p []byte) (int, error) {
	room := min(int64(len(p)), w.limit-int64(len(w.buf)))
	w.buf = append(w.buf, p[:room]...)
	w.over = w.over || room < int64(len(p))
	return len(p), nil
}

// The sizes of the buffers of [transfer]: the first for what says next to nothing, or
// holds the head of any script in one packet, the last for what goes on.
const (
	smallRead = 512
	headRead  = 4 << 10
	fullRead  = 32 << 10 // a packet of ssh
)

// transfer is io.Copy for streams of which most say next to nothing, and of which a
// run of many hosts has very many: it begins with a buffer of the first size, and takes
// a full one when that was full. Of a string it makes no second one.
func transfer(w io.Writer, r io.Reader, first int) error {
	buf := make([]byte, first)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n == len(buf) && n < fullRead:
			buf = make([]byte, fullRead)
		}
	}
}
