package ssh

import (
	"path"
	"slices"
	"strings"
)

// systemLinks are the folders that have a second name on every Mac, and the one
// that has it on every Linux.
var systemLinks = []struct{ link, target string }{
	{"/etc", "/private/etc"}, {"/tmp", "/private/tmp"}, {"/var", "/private/var"}, {"/var/run", "/run"},
}

// names are the names of a file on a host as [runtime.Op] wants them; nil where
// they cannot be told: from the login's home, or behind "..", which a link
// would lead elsewhere. A preview takes other names for other files: the links
// that somebody made on the host are not known before it is asked.
func names(file string) []string {
	if !path.IsAbs(file) || slices.Contains(strings.Split(file, "/"), "..") {
		return nil
	}
	names := []string{path.Clean(file)}
	for _, l := range slices.Concat(systemLinks, systemLinks) { // twice: one may lead to another
		for _, n := range names {
			for _, swap := range [][2]string{{l.link, l.target}, {l.target, l.link}} {
				if rest, ok := strings.CutPrefix(n+"/", swap[0]+"/"); ok {
					names = append(names, path.Join(swap[1], rest))
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
