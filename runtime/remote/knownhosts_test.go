package remote

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func hashed(host string) string { return knownhosts.HashHostname(host) }

// Of a fleet's file, a host's check keeps what may be about the host.
func TestKnownHostsOfOne(t *testing.T) {
	key := authorizedKey(newKey(t, filepath.Join(t.TempDir(), "key")).signer.PublicKey())
	lines := []string{"a,[b]:7 ", "\t\t[x]:7\t", "x ", "other,[x]:* ", "*,!x ", hashed("[x]:7") + " ", hashed("y") + " ", "@revoked y ", "@cert-authority *.z ", "X ", "#x "}
	file := filepath.Join(t.TempDir(), "known_hosts")
	must(t, os.WriteFile(file, []byte(strings.Join(lines, key+"\r\n")+key), 0o600))
	db, err := new(knownFiles).read([]string{file, file + ".missing"}, namesOf("X", 7, ""))
	must(t, err)
	full, bare := db.of(namesOf("X", 7, ""))
	for _, c := range []struct {
		name string
		got  knownHosts
		want []int
	}{{"kept", db, []int{2, 3, 4, 5, 6, 8, 9, 10}}, {"full", full, []int{2, 4, 5, 6}}, {"bare", bare, []int{3, 10}}} {
		var got []int
		for _, k := range c.got {
			got = append(got, k.line)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: lines %v, not %v", c.name, got, c.want)
		}
	}
}

// No line that counts is passed over.
func FuzzConcerns(f *testing.F) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2c7fQ9w4jVbVYt0p9L0oHQbfcf3Nrjd0gZ0hYpG0Yd"
	for _, hosts := range []string{"x", "[x]:7", "a,x", "*", " x", "\tX", "@revoked x", "@x x", "x\v", "\u0085x", "|1|a|b", "[X]:22,!x", "\rx"} {
		f.Add(hosts + " " + key + "\r\n")
	}
	f.Fuzz(func(t *testing.T, line string) {
		names := namesOf("x", 7, "")
		marker, hosts, _, _, _, err := ssh.ParseKnownHosts([]byte(line))
		if i := strings.IndexByte(line, '\n'); err != nil || i >= 0 && i < len(line)-1 {
			return // no line, or several
		}
		if (marker != "" || matchHosts(hosts, names[0]) || matchHosts(hosts, names[1])) && len(parseKnownFile([]byte(line)).concerning(names)) == 0 {
			t.Errorf("%q is passed over", line)
		}
	})
}
