package remote

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// A knownKey is a line of a known_hosts file.
type knownKey struct {
	file   string
	line   int
	marker string // "cert-authority", "revoked" or ""
	hosts  []string
	key    ssh.PublicKey
}

func (k knownKey) String() string { return fmt.Sprintf("%s, line %d", k.file, k.line) }

// knownHosts is what the known_hosts files say, read as OpenSSH reads them:
// lines that cannot be read are passed over, patterns may stand for a port, and
// on another port than 22 a key may be known by the host's bare name. The
// libraries for it fail a whole file for one line, and read neither "[host]:*"
// nor, on another port, "host".
type knownHosts []knownKey

// knownFiles are the known_hosts files that were read.
type knownFiles struct{ cache fileCache[*knownFile] }

// read reads what files, of which some may be missing, say of a host by one of its
// names, and of authorities and revoked keys. It reads no other key: with a fleet, the
// files have a line for every host.
func (k *knownFiles) read(files, names []string) (knownHosts, error) {
	var db knownHosts
	for _, file := range files {
		known, err := k.cache.of(file, parseKnownFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the known hosts: %w", err)
		}
		for _, i := range known.concerning(names) {
			marker, hosts, key, _, _, err := ssh.ParseKnownHosts(known.lines[i])
			if err == nil {
				db = append(db, knownKey{file, i + 1, marker, hosts, key})
			}
		}
	}
	return db, nil
}

// A knownFile is a file of known_hosts, of which no key was read yet.
type knownFile struct {
	lines  [][]byte
	named  map[string][]int // lines that are about nothing but names, by each of these
	others []int            // lines with a marker, a pattern or a hash
}

func parseKnownFile(text []byte) *knownFile {
	f := &knownFile{named: map[string][]int{}}
	for line := range bytes.Lines(text) {
		i := len(f.lines)
		f.lines = append(f.lines, line)
		first := firstWord(line)
		if bytes.ContainsAny(first, "@*?!|") {
			f.others = append(f.others, i)
			continue
		}
		for host := range strings.SplitSeq(string(first), ",") {
			host = plainPort(host)
			f.named[host] = append(f.named[host], i)
		}
	}
	return f
}

// concerning returns the lines that may be about one of the names, or have a marker, in
// their order.
func (f *knownFile) concerning(names []string) []int {
	var found []int
	for _, name := range names {
		found = append(found, f.named[name]...)
	}
	for _, i := range f.others {
		if concerns(f.lines[i], names) {
			found = append(found, i)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// firstWord is what a line is about, or its marker.
func firstWord(line []byte) []byte {
	first := bytes.TrimLeft(line, " \t")
	if end := bytes.IndexAny(first, " \t"); end >= 0 {
		first = first[:end]
	}
	return first
}

// concerns says whether a line may be about one of the names, or has a marker,
// without reading its key, which costs much more.
func concerns(line []byte, names []string) bool {
	first := firstWord(line)
	if bytes.HasPrefix(first, []byte("@")) {
		return true
	}
	hosts := strings.Split(string(first), ",")
	return slices.ContainsFunc(names, func(name string) bool { return matchHosts(hosts, name) })
}

// namesOf are what lines about a host call it, the first, and on another port than 22
// its bare name. The alias, where there is one, stands for name and port.
func namesOf(name string, port int, alias string) []string {
	name = strings.ToLower(name)
	switch {
	case alias != "":
		return []string{strings.ToLower(alias)}
	case port == 22:
		return []string{name}
	}
	return []string{"[" + name + "]:" + strconv.Itoa(port), name}
}

// of returns the lines about a host, by its names, and those about its bare name.
func (db knownHosts) of(names []string) (lines, bare knownHosts) {
	if lines = db.matching(names[0]); len(names) > 1 {
		bare = db.matching(names[1])
	}
	return lines, bare
}

func (db knownHosts) matching(host string) knownHosts {
	var found knownHosts
	for _, k := range db {
		if k.marker != "revoked" && matchHosts(k.hosts, host) {
			found = append(found, k)
		}
	}
	return found
}

// revoked finds a @revoked line for the key, whatever host the line names: a
// key that leaked is good for none.
func (db knownHosts) revoked(key ssh.PublicKey) (knownKey, bool) {
	for _, k := range db {
		if k.marker == "revoked" && sameKey(k.key, key) {
			return k, true
		}
	}
	return knownKey{}, false
}

func (db knownHosts) marked(marker string) knownHosts {
	var found knownHosts
	for _, k := range db {
		if k.marker == marker {
			found = append(found, k)
		}
	}
	return found
}

func (db knownHosts) has(key ssh.PublicKey) bool {
	for _, k := range db {
		if sameKey(k.key, key) {
			return true
		}
	}
	return false
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// matchHosts says whether the patterns of a line mean host, which is a name or
// "[name]:port".
func matchHosts(patterns []string, host string) bool {
	matched := false
	for _, pattern := range patterns {
		switch {
		case strings.HasPrefix(pattern, "|"):
			matched = matched || matchHash(pattern, host)
		case strings.HasPrefix(pattern, "!"):
			if matchPattern(plainPort(pattern[1:]), host) {
				return false
			}
		default:
			matched = matched || matchPattern(plainPort(pattern), host)
		}
	}
	return matched
}

// plainPort writes "[name]:22" as "name".
func plainPort(pattern string) string {
	pattern = strings.ToLower(pattern)
	if name, port, err := net.SplitHostPort(pattern); err == nil && port == "22" && pattern[0] == '[' {
		return name
	}
	return pattern
}

// matchPattern knows * and ?, which mean any characters, dots included.
func matchPattern(pattern, s string) bool {
	for pattern != "" {
		switch {
		case pattern[0] == '*':
			for i := range len(s) + 1 {
				if matchPattern(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case s == "" || pattern[0] != '?' && pattern[0] != s[0]:
			return false
		}
		pattern, s = pattern[1:], s[1:]
	}
	return s == ""
}

// matchHash reads "|1|salt|hash".
func matchHash(pattern, host string) bool {
	parts := strings.Split(pattern, "|")
	if len(parts) != 4 || parts[1] != "1" {
		return false
	}
	salt, err1 := base64.StdEncoding.DecodeString(parts[2])
	want, err2 := base64.StdEncoding.DecodeString(parts[3])
	if err1 != nil || err2 != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(host))
	return hmac.Equal(mac.Sum(nil), want)
}
