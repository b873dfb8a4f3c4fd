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
