package main

import (
	"strings"
	"testing"

	"infra/examples/lab/fleet"
)

func TestChangesOf(t *testing.T) {
	t.Parallel()
	file := func(digest string) fleet.File {
		return fleet.File{Mode: 0o400, Owner: "0:0", Size: 3, Digest: digest}
	}
	before := hostState{files: map[string]fleet.File{
		"/etc/same":        file("a"),
		"/etc/other":       file("a"),
		"/etc/gone":        file("a"),
		currentSystem:      {Target: "/nix/store/a"},
		"/nix/store/a/etc": file("a"),
	}, activations: []string{"one\n"}}
	after := hostState{files: map[string]fleet.File{
		"/etc/same":         file("a"),
		"/etc/other":        file("b"),
		"/etc/new":          file("a"),
		"/etc/link":         {Target: "new"},
		currentSystem:       {Target: "/nix/store/b"},
		"/nix/store/a/etc":  file("a"),
		"/nix/store/b/etc":  file("b"),
		profiles + "1-link": {Target: "/nix/store/b"},
	}, activations: []string{"one\n", "two\n"}}
	want := `/etc/gone: removed
/etc/link: new, a link to new
/etc/new: new, 3 bytes, mode 0400, owner 0:0
/etc/other: changed, 3 bytes, mode 0400, owner 0:0
/nix/var/nix/profiles/system-1-link: (none) -> /nix/store/b
/run/current-system: /nix/store/a -> /nix/store/b
and 1 files of /nix and of root's nix profile
/var/log/activations: two`
	if got := strings.Join(changesOf(before, after), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
