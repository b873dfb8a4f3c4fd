package clock

import (
	"testing"
	"time"
)

func TestSub(t *testing.T) {
	at := func(boot string, wall, up time.Duration) Instant {
		return Instant{time.Unix(0, 0).Add(wall), Mark{boot, up}}
	}
	for _, tt := range []struct {
		name             string
		earlier, later   Instant
		between, forward time.Duration
	}{
		{"nobody set a clock", at("a", 0, 5), at("a", 7, 12), 7, 0},
		{"it was set forward", at("a", 0, 5), at("a", time.Hour, 12), 7, time.Hour - 7},
		{"it was set back", at("a", time.Hour, 5), at("a", 0, 12), 7, -time.Hour - 7},
		{"another boot", at("a", 0, 500), at("b", 7, 3), 7, 0},
		{"another boot, and set back", at("a", 9, 500), at("b", 2, 3), -7, 0},
		{"no marks", at("", 0, 0), at("", 7, 0), 7, 0},
	} {
		if got := tt.later.Sub(tt.earlier); got != tt.between {
			t.Errorf("%s: %s between them, want %s", tt.name, got, tt.between)
		}
		if got := tt.later.Jump(tt.earlier); got != tt.forward {
			t.Errorf("%s: set forward by %s, want %s", tt.name, got, tt.forward)
		}
	}
}

func TestNow(t *testing.T) {
	a := Now()
	b := Now()
	if a.Boot == "" || a.Up <= 0 || !b.SameBoot(a) || b.Sub(a) < 0 || b.Sub(a) > time.Minute {
		t.Errorf("%+v, and then %+v", a, b)
	}
	if c := a.Add(time.Hour); c.Sub(a) != time.Hour || c.Jump(a) != 0 {
		t.Errorf("an hour later: %+v, by %s", c, c.Sub(a))
	}
}
