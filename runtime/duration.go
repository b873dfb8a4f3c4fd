package runtime

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads "90s", "2m", "1h30m", "7d" and "6w". Days have 24 hours.
func ParseDuration(s string) (time.Duration, error) {
	day := 24 * time.Hour
	for suffix, unit := range map[string]time.Duration{"d": day, "w": 7 * day} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			f, err := strconv.ParseUint(n, 10, 16)
			if err != nil {
				return 0, fmt.Errorf("%q is no duration: write \"90s\", \"2m\", \"1h30m\", \"7d\" or \"6w\"", s)
			}
			return time.Duration(f) * unit, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration: write \"90s\", \"2m\", \"1h30m\", \"7d\" or \"6w\"", s)
	}
	return d, nil
}

// FormatDuration prints the two largest units of a length of time: "7d", "5d 3h",
// "2h 10m", "45s". What is one unit is read by [ParseDuration].
func FormatDuration(d time.Duration) string {
	units := []struct {
		name string
		of   time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	for i, u := range units {
		if d < u.of {
			continue
		}
		text := fmt.Sprintf("%d%s", d/u.of, u.name)
		if i+1 < len(units) && d%u.of >= units[i+1].of {
			text += fmt.Sprintf(" %d%s", d%u.of/units[i+1].of, units[i+1].name)
		}
		return text
	}
	return ""
}

// FormatTime prints a moment to the minute, in UTC: "2026-03-09 09:04 UTC".
func FormatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
