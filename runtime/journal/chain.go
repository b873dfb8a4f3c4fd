package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"time"

	"infra/runtime"
)

// An entry says that an event was recorded, and which row of its slot it
// concerns.
type entry struct {
	seq    int64
	run    int64  // runs.seq
	runID  string // runs.id; "" once the run has been pruned
	kind   runtime.EventKind
	step   string
	host   string
	check  bool
	item   int64 // an operation's id, a part, or seq of a step or a log
	time   any   // nanoseconds, or nil
	digest []byte
	chain  []byte
}

// digestOf is the digest of an entry and of what its event put into the
// tables. Values are encoded with their type and length, so that no two
// contents look alike.
func digestOf(e *entry, content []any) ([]byte, error) {
	h := sha256.New()
	for _, v := range []any{e.run, e.runID, e.kind, e.step, e.host, e.check, e.item, e.time} {
		if err := digestValue(h, v); err != nil {
			return nil, err
		}
	}
	for _, v := range content {
		if err := digestValue(h, v); err != nil {
			return nil, err
		}
	}
	return h.Sum(nil), nil
}

// digestValue adds a value as SQLite keeps it: a text, a whole number or NULL.
func digestValue(h hash.Hash, v any) error {
	var n int64
	switch v := v.(type) {
	case nil:
		_, _ = h.Write([]byte{'n'})
		return nil
	case string:
		return digestText(h, v)
	case runtime.EventKind:
		return digestText(h, string(v))
	case runtime.Status:
		return digestText(h, string(v))
	case bool:
		if v {
			n = 1
		}
	case int64:
		n = v
	case int:
		n = int64(v)
	case time.Duration:
		n = int64(v)
	default:
		return fmt.Errorf("a %T cannot be kept", v)
	}
	_, _ = h.Write(binary.BigEndian.AppendUint64([]byte{'i'}, uint64(n)))
	return nil
}

func digestText(h hash.Hash, text string) error {
	_, _ = h.Write(binary.BigEndian.AppendUint64([]byte{'t'}, uint64(len(text))))
	_, _ = h.Write([]byte(text))
	return nil
}

// A head is the newest entry's place in the chain; none is the zero head.
type head struct {
	seq   int64
	chain []byte
}

// link puts an entry, whose digest is known, at the end of the chain.
func (h *head) link(e *entry) {
	e.seq, e.chain = h.seq+1, linked(h.chain, e.digest)
	h.seq, h.chain = e.seq, e.chain
}

func linked(previous, digest []byte) []byte {
	sum := sha256.New()
	_, _ = sum.Write(previous)
	_, _ = sum.Write(digest)
	return sum.Sum(nil)
}
