package remote

import (
	"io"
	"net"
	"strings"
	"testing"
)

// A chatty is a connection that says all it has at once.
type chatty struct {
	net.Conn
	text  *strings.Reader
	reads int
}

func (c *chatty) Read(p []byte) (int, error) { c.reads++; return c.text.Read(p) }

// What is asked for byte by byte comes in one read, and nothing of it is lost.
func TestGreetingIsOneRead(t *testing.T) {
	text := strings.Repeat("0123456789", 100)
	c := &chatty{text: strings.NewReader(text)}
	heard := 0
	s := watch(c, func() { heard++ })
	var got strings.Builder
	for range 20 {
		var one [1]byte
		if _, err := io.ReadFull(s, one[:]); err != nil {
			t.Fatal(err)
		}
		got.Write(one[:])
	}
	if c.reads != 1 || heard != 1 {
		t.Errorf("20 bytes took %d reads, of which %d were heard", c.reads, heard)
	}
	if _, err := io.Copy(&got, struct{ io.Reader }{s}); err != nil || got.String() != text {
		t.Errorf("%v; %d bytes of %d came", err, got.Len(), len(text))
	}
	if s.read.Load() != int64(len(text)) {
		t.Errorf("%d bytes are counted", s.read.Load())
	}
}
