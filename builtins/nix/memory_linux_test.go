package nix

import "testing"

func TestAvailableIn(t *testing.T) {
	for text, want := range map[string]int64{
		"MemTotal: 8 kB\nMemAvailable:    2048 kB\nx": 2 << 20, "": 0, "MemAvailable:": 0, "MemAvailable: -5 kB": 0, "MemAvailable: many": 0,
	} {
		if got := availableIn([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
