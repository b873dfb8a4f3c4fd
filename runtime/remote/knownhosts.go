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
	"os"
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

// readKnownHosts reads files of which some may be missing.
func readKnownHosts(files []string) (knownHosts, error) {
	var db knownHosts
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the known hosts: %w", err)
		}
		n := 0
		for line := range bytes.Lines(text) {
			n++
			marker, hosts, key, _, _, err := ssh.ParseKnownHosts(line)
			if err == nil {
				db = append(db, knownKey{file, n, marker, hosts, key})
			}
		}
	}
	return db, nil
}

// of returns the lines about a host, and on another port than 22 those about
// its bare name. The alias, where there is one, stands for name and port.
func (db knownHosts) of(name string, port int, alias string) (lines, bare knownHosts) {
	if alias != "" {
		return db.matching(strings.ToLower(alias)), nil
	}
	name = strings.ToLower(name)
	if port == 22 {
		return db.matching(name), nil
	}
	return db.matching("[" + name + "]:" + strconv.Itoa(port)), db.matching(name)
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
