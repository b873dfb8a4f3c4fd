package clan

import "testing"

func TestParseTarget(t *testing.T) {
	for target, want := range map[string]string{
		"host":                         "root@host",
		"me@host.example.org":          "me@host.example.org",
		"ssh://me@host":                "me@host",
		"ssh://me@host/":               "me@host",
		"me@host:2222":                 "ssh://me@host:2222",
		"me@10.0.0.1:22":               "ssh://me@10.0.0.1:22",
		"me@[fd00::1]:22":              "ssh://me@[fd00::1]:22",
		"me@[fd00::1]":                 "ssh://me@[fd00::1]",
		"fd00::1":                      "ssh://root@[fd00::1]",
		"me@host?ProxyJump=a@b:33":     "ssh://me@host?ProxyJump=a%40b%3A33",
		"host:1?ConnectTimeout=5&X=%2": "",
		"host?ConnectTimeout=5&IdentityFile=%2Fk": "ssh://root@host?ConnectTimeout=5&IdentityFile=%2Fk",
		"":                       "",
		"@":                      "",
		"-oProxyCommand=x":       "",
		"me@-oProxyCommand=x":    "",
		"-l@host":                "",
		"me@host:0":              "",
		"me@host:70000":          "",
		"me@host:x":              "",
		"me@host name":           "",
		"me@host;x":              "",
		"me@[fd00::1]x":          "",
		"me@host?-o=x":           "",
		"me@host?ProxyJump=a%0a": "",
	} {
		got, err := parseTarget(target)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", target, got, err, want)
		}
	}
}
