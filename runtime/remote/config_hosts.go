package remote

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// A configText is what of the text of ssh's configuration can tell two
// destinations apart, by the names that they are asked for.
type configText struct {
	hosts [][]string // the patterns of each Host line
	names []string   // the values of the HostName lines, in lower case
	bends bool       // one of these may be written as another address than it is
}

var (
	configLine = regexp.MustCompile(`^([A-Za-z0-9]+)(?:[ \t]*=[ \t]*|[ \t]+)(.*)$`)

	// neutral are the Match lines that fit any destination.
	neutral = regexp.MustCompile(`^(final[ \t]+)?all$`)

	// plainHostName has no token but %h and %n, which stand for the name, and
	// nothing that hides one or spells a word in two ways.
	plainHostName = regexp.MustCompile(`^([^"'\\$%]|%[hn%])*$`)

	// plainPatterns have nothing that ssh reads as more than it shows.
	plainPatterns = regexp.MustCompile("^[\t\x20-\x7e]*$")
)

// read adds the lines of a file. It says no where they may tell destinations
// apart in a way that it does not know.
func (c *configText) read(text string) bool {
	if strings.ContainsRune(text, 0) { // where ssh sees the end of a line
		return false
	}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimLeft(strings.TrimRight(line, " \t\r\f"), " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		m := configLine.FindStringSubmatch(line)
		if m == nil || !c.add(strings.ToLower(m[1]), m[2]) {
			return false
		}
	}
	return true
}

func (c *configText) add(keyword, value string) bool {
	switch keyword {
	case "host":
		return c.addHost(value)
	case "match":
		return neutral.MatchString(value)
	case "canonicalizehostname", "canonicalizepermittedcnames":
		return false
	case "include": // newer ones read tokens and variables
		return !strings.ContainsAny(value, "%$")
	case "user": // likewise
		return !strings.ContainsAny(value, "%$")
	case "hostname":
		value = strings.ToLower(value)
		c.names = append(c.names, value)
		c.bends = c.bends || !straight(value)
		return plainHostName.MatchString(value)
	}
	// %C is a hash of the name, in which nobody finds it again.
	return !strings.Contains(value, "%C") || !slices.ContainsFunc(readKeywords, func(k string) bool { return strings.EqualFold(k, keyword) })
}

// addHost adds the patterns of a Host line. Not every ssh has comments behind
// them, or looks at upper case: there each pattern counts for itself, so that who
// agrees in all of them agrees in the line, however it is read.
func (c *configText) addHost(value string) bool {
	if !plainPatterns.MatchString(value) || strings.ContainsAny(value, `"'\`) {
		return false
	}
	patterns := strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '\t' })
	if !strings.Contains(value, "#") && value == strings.ToLower(value) {
		c.hosts = append(c.hosts, patterns)
		return true
	}
	for _, pattern := range patterns {
		c.hosts = append(c.hosts, []string{strings.ToLower(strings.TrimPrefix(pattern, "!"))})
	}
	return true
}

// class has a bit for each Host line: whether it is about name.
func (c *configText) class(name string) string {
	bits := make([]byte, (len(c.hosts)+7)/8)
	for i, patterns := range c.hosts {
		if hostLineFits(patterns, name) {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return string(bits)
}

// straight says whether a HostName is an address for no name that is none, and for
// an address that address, where ssh writes 127.1 as 127.0.0.1: at times, and not
// each ssh.
func straight(value string) bool {
	if value == "%h" || value == "%n" {
		return true
	}
	fixed := strings.NewReplacer("%h", "", "%n", "").Replace(value)
	return !strings.Contains(value, "#") && (isLettered(fixed) || isAddress(value))
}

// isLettered holds for what cannot be a part of a number, in hexadecimal or not.
func isLettered(text string) bool { return strings.ContainsAny(text, "ghijklmnopqrstuvwyz_-") }

var numbers = regexp.MustCompile(`^(0x[0-9a-f]*|[0-9]*)(\.(0x[0-9a-f]*|[0-9]*))*$`)

// isNoAddress holds for what nobody reads as an address.
func isNoAddress(name string) bool { return !strings.Contains(name, ":") && !numbers.MatchString(name) }

// isAddress holds for an IPv4 address in its one form.
func isAddress(name string) bool {
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Is4() && ip.String() == name
}

// shares says whether ssh's answer for name shows what of it is the name.
func (c *configText) shares(name string) bool {
	return !c.spells(name) && (isLettered(name) || (isNoAddress(name) || isAddress(name)) && !c.bends)
}

// spells says whether a HostName line has name in it by itself.
func (c *configText) spells(name string) bool {
	return slices.ContainsFunc(c.names, func(value string) bool { return strings.Contains(value, name) })
}

func hostLineFits(patterns []string, name string) bool {
	fits := false
	for _, pattern := range patterns {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if patternFits(pattern, name) {
			if negated {
				return false
			}
			fits = true
		}
	}
	return fits
}

// patternFits reads * and ? as ssh does.
func patternFits(pattern, name string) bool {
	star, behind := -1, 0 // the last *, and what of name comes behind what it has taken
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, behind = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			behind++
			p, n = star+1, behind
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
