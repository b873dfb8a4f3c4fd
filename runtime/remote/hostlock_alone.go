package remote

import "sync"

// underWay counts, by host, the sessions of which it is not known that nothing of
// them is left there. One that ends without an exit status, or with one that a
// signal may be behind, is counted for ever.
type underWay struct {
	mu sync.Mutex
	by map[string]int
}

// begin counts a session on the host of an endpoint; ended takes back what ended well.
func (u *underWay) begin(e *Endpoint) (ended func(ending)) {
	key := e.key()
	u.add(key, 1)
	return func(end ending) {
		if end.exited && end.status < 128 {
			u.add(key, -1)
		}
	}
}

func (u *underWay) add(key string, n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.by == nil {
		u.by = map[string]int{}
	}
	u.by[key] += n
}

// alone says whether one session on the host of an endpoint, which who asks
// knows of, is the only one.
func (u *underWay) alone(e *Endpoint) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.by[e.key()] == 1
}
