package remote

import "sync"

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
