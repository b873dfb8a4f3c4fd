// Package sops reads and writes files that sops encrypts, by sops' own
// library. It finds identities where sops does, asks a person at most once,
// and lets no text of the library's errors out: some hold the values of a file.
//
//	keys := sops.NewReader()
//	doc, err := keys.Open(ctx, sops.FileAt(root, "secrets/a.yaml"), log)
//	text, err := doc.Value("db.password")
//	meta, err := sops.ReadMetadata(file) // needs no key
package sops

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// A Reader decrypts files, each once per content. It decrypts one at a time: a
// person can touch one key at a time, and holding the turn is also what guards
// everything below. All of a process share one, so that nobody is asked twice.
type Reader struct {
	turn  chan struct{} // holds a token while someone has the turn
	plain map[[sha256.Size]byte]*plain
	keys  *keyring
}

// NewReader makes a reader. It costs nothing before it is used.
func NewReader() *Reader {
	return &Reader{turn: make(chan struct{}, 1), plain: map[[sha256.Size]byte]*plain{}, keys: newKeyring()}
}

// Open returns the decrypted file. Messages of plugins and key commands go to log.
func (r *Reader) Open(ctx context.Context, f File, log io.Writer) (*Document, error) {
	data, err := f.Read()
	if err != nil {
		return nil, err
	}
	return r.Decrypt(ctx, f, data, log)
}

// Decrypt is Open of a file that has been read already.
func (r *Reader) Decrypt(ctx context.Context, f File, data []byte, log io.Writer) (*Document, error) {
	p, err := inTurn(ctx, r, f, log, func(l *opLog) (*plain, error) { return r.document(ctx, f, data, l) })
	if err != nil {
		return nil, err
	}
	return &Document{f.Name, p}, nil
}

// inTurn does what needs the turn.
//
// The work has a goroutine of its own, since neither an age plugin nor a cloud's
// client can be told to stop: when ctx ends, inTurn returns and the turn stays
// with the one that hangs.
func inTurn[T any](ctx context.Context, r *Reader, f File, log io.Writer, work func(*opLog) (T, error)) (T, error) {
	var none T
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return none, fmt.Errorf("decrypt %s: %w", f.Name, context.Cause(ctx))
	}
	type answer struct {
		v   T
		err error
	}
	answered := make(chan answer, 1)
	heard := &opLog{w: log}
	go func() {
		defer func() { <-r.turn }()
		v, err := guarded(func() (T, error) { return work(heard) })
		if errors.Is(err, errPanicked) {
			err = fmt.Errorf("decrypt %s: %w", f.Name, err)
		}
		answered <- answer{v, err}
	}()
	defer heard.close()
	select {
	case a := <-answered:
		return a.v, a.err
	case <-ctx.Done():
		return none, fmt.Errorf("decrypt %s: %w", f.Name, context.Cause(ctx))
	}
}

// document needs the turn.
func (r *Reader) document(ctx context.Context, f File, data []byte, log *opLog) (*plain, error) {
	sum := sha256.Sum256(append([]byte{byte(f.Format)}, data...))
	if p, ok := r.plain[sum]; ok {
		return p, nil
	}
	p, err := decrypt(ctx, f, data, r.keys, log)
	if err != nil {
		return nil, err
	}
	r.plain[sum] = p
	return p, nil
}
