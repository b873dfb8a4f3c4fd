package fleet

import (
	"testing"
	"time"
)

func TestABadLink(t *testing.T) {
	t.Parallel()
	f := upSystemd(t, "cinnabar")
	address := f.Hosts()[0].Address + ":2222"
	greeted := func() time.Duration {
		began := time.Now()
		greets(t.Context(), address)
		return time.Since(began)
	}
	slow, err := f.Link("cinnabar", 50*time.Millisecond, 0)
	if err != nil {
		t.Fatal(err)
	}
	if took := greeted(); took < 200*time.Millisecond { // two round trips
		t.Errorf("a greeting over a slow link took %s", took)
	}
	slow.Cut()
	if greets(t.Context(), address) {
		t.Error("it greets over a link that is cut")
	}
	slow.Mend()
	if took := greeted(); took < 200*time.Millisecond {
		t.Errorf("a greeting over a mended link took %s", took)
	}
	if err := slow.Close(); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); greeted() > 200*time.Millisecond; { // a busy machine is slow now and then
		if time.Since(began) > time.Minute {
			t.Fatal("the link is not what it was")
		}
	}
	if !greets(t.Context(), address) {
		t.Error("nobody greets without the link")
	}
	if _, err := f.Link("blackphos", 0, 0); err == nil {
		t.Error("a host without a network of its own has a link")
	}
}
