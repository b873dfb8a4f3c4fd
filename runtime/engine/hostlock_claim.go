package engine

import "infra/runtime"

// claimed is what a claim is to: a host, as the plan declares it or as it is
// reached at a place. Two of one name may be two machines, one after the other;
// where they are one, its lock is shared.
type claimed struct {
	host, ssh string
	place     runtime.Place
}

// A hostClaim is what the run has of one host's lock.
type hostClaim struct {
	turn chan struct{} // to take it, or to look whether it is held
	lock *HostLock     // nil: it is not taken
	gone error         // why it was lost, for good
}

// claim is the one to a host's lock.
func (l *hostLocks) claim(h *runtime.Host) *hostClaim {
	l.mu.Lock()
	defer l.mu.Unlock()
	to := claimed{host: h.Name, ssh: h.SSH}
	if h.Place != nil {
		to.place = *h.Place
	}
	c := l.by[to]
	if c == nil {
		c = &hostClaim{turn: make(chan struct{}, 1)}
		l.by[to] = c
	}
	return c
}

// ended forgets the locks of a host that were lost since what held them was
// ended by the run itself. They are taken again as for the first time.
func (l *hostLocks) ended(host string) {
	var claims []*hostClaim
	l.mu.Lock()
	for to, c := range l.by {
		if to.host == host {
			claims = append(claims, c)
		}
	}
	l.mu.Unlock()
	for _, c := range claims {
		c.turn <- struct{}{}
		if c.lock != nil && c.lock.why() != nil {
			_ = c.lock.Release() // there is nothing left that could say so
			c.lock = nil
		}
		<-c.turn
	}
}
