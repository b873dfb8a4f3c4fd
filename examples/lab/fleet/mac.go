package fleet

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// macFiles are what a Mac of the lab has from before it was migrated, by path: the
// things of its user, dev, and stand-ins for the programs of macOS that tell of them.
var macFiles = map[string]string{
	"/Applications/Firefox.app/Contents/Info.plist":            "a browser\n",
	"/opt/homebrew/Caskroom/firefox/128.0/.keep":               "",
	"/opt/homebrew/Caskroom/raycast/1.83/.keep":                "",
	"/opt/homebrew/Cellar/mas/1.8.7/.keep":                     "",
	"/Library/LaunchAgents/org.example.sync.plist":             "a service\n",
	"/Users/dev/.gitconfig":                                    "[user]\n\tname = Dev\n\temail = dev@example.org\n",
	"/Users/dev/Library/LaunchAgents/org.example.backup.plist": "a service\n",
	"/Users/dev/Library/Preferences/com.apple.dock.plist":      "autohide = 1\norientation = left\ntilesize = 48\n",
	"/Users/dev/Library/Preferences/.GlobalPreferences.plist":  "KeyRepeat = 2\n",
	"/usr/local/bin/defaults":                                  defaults,
	"/usr/local/bin/dscl":                                      dscl,
}

// defaults tells a preference; a domain may be the path of its file, without .plist.
const defaults = `#!/bin/sh
value=$(sed -n "s/^$3 = //p" "$2.plist" 2>/dev/null)
if [ "$1" != read ] || [ ! "$value" ]; then
	echo "The domain/default pair of ($2, $3) does not exist" >&2
	exit 1
fi
echo "$value"
`

// dscl tells a user's shell.
const dscl = `#!/bin/sh
[ "$1 $2 $3 $4" = ". -read /Users/dev UserShell" ] || exit 56
echo "UserShell: /run/current-system/sw/bin/zsh"
`

// writeMac makes what is copied to the disk of a host that stands in for a Mac.
func (f *Fleet) writeMac(h Host) error {
	if h.System != "aarch64-darwin" {
		return nil
	}
	var errs []error
	for name, text := range macFiles {
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(path.Dir(name), "/usr/local/bin") {
			mode = 0o755
		}
		errs = append(errs, f.write(mode, text, "hosts", h.Name, "disk", name))
	}
	return errors.Join(errs...)
}
