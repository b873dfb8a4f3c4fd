package remote

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// A run of 500 hosts has some 1500 streams that say a line or nothing.
func TestTransfer(t *testing.T) {
	for _, size := range []int{0, 1, smallRead - 1, smallRead, smallRead + 1, 3*fullRead + 5} {
		var got bytes.Buffer
		from, asked := strings.NewReader(strings.Repeat("x", size)), 0
		err := transfer(&got, readerFunc(func(p []byte) (int, error) {
			asked = max(asked, len(p))
			return from.Read(p)
		}), smallRead)
		if err != nil || got.String() != strings.Repeat("x", size) {
			t.Errorf("of %d bytes %d came, %v", size, got.Len(), err)
		}
		if want := smallRead; size < smallRead && asked != want || asked > fullRead {
			t.Errorf("%d bytes take a buffer of %d", size, asked)
		}
	}
	// What waits for its lock to end has sent its head, which must not cost it a full buffer.
	for name, head := range map[string]int{"unit": len(joined(unitRuns))} {
		if head > headRead*3/4 {
			t.Errorf("the head of a %s has %d bytes, and others come to it", name, head)
		}
	}
	broken := errors.New("broken")
	if err := transfer(io.Discard, readerFunc(func(p []byte) (int, error) { return 0, broken }), smallRead); err != broken {
		t.Error(err)
	}
	failing := writerFunc(func(p []byte) (int, error) { return 0, broken })
	if err := transfer(failing, strings.NewReader("x"), smallRead); err != broken {
		t.Error(err)
	}
}
