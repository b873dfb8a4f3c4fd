package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kevinburke/ssh_config"

	"infra/runtime"
)

// lookUpWithoutSSH reads the configuration itself, for machines that have no
// ssh. It refuses what it would misread.
func lookUpWithoutSSH(config Config, destination string) (*Endpoint, error) {
	me, err := login()
	if err != nil {
		return nil, err
	}
	name, options, err := splitDestination(destination)
	if err != nil {
		return nil, err
	}
	files := []string{config.SSHConfig}
	if config.SSHConfig == "" {
		files = []string{filepath.Join(me.HomeDir, ".ssh", "config"), "/etc/ssh/ssh_config"}
	}
	for _, file := range files {
		if err := readConfigFile(file, name, me.HomeDir, config.SSHConfig != "", options); err != nil {
			return nil, err
		}
	}
	fillIn(options, "user", me.Username)
	fillIn(options, "port", "22")
	fillIn(options, "hostname", name)
	options["hostname"][0] = strings.NewReplacer("%h", name, "%n", name, "%%", "%").Replace(options["hostname"][0])
	fillIn(options, "userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
	fillIn(options, "globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2")
	fillIn(options, "identityfile", "~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
	return newEndpoint(destination, options, config)
}

func fillIn(options map[string][]string, keyword string, values ...string) {
	if len(options[keyword]) == 0 {
		options[keyword] = values
	}
}

// splitDestination takes "user@name" or "ssh://user@name:port?Option=value" apart.
// Options are by lower-case keyword.
func splitDestination(destination string) (name string, options map[string][]string, err error) {
	options = map[string][]string{}
	if strings.HasPrefix(destination, "ssh://") {
		u, err := url.Parse(destination)
		if err != nil || u.Hostname() == "" {
			return "", nil, fmt.Errorf("%q is no ssh destination", destination)
		}
		if u.User != nil {
			options["user"] = []string{u.User.Username()}
		}
		if u.Port() != "" {
			options["port"] = []string{u.Port()}
		}
		return u.Hostname(), options, addOptions(options, u.RawQuery)
	}
	if i := strings.LastIndexByte(destination, '@'); i >= 0 {
		options["user"] = []string{destination[:i]}
		destination = destination[i+1:]
	}
	return destination, options, nil
}

// addOptions adds those of a destination's query. User and port come from the
// destination itself where it has them, as for ssh -l and -p.
func addOptions(options map[string][]string, query string) error {
	given, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("the ssh options %q are not OPTION=value, joined by &", query)
	}
	for keyword, values := range given {
		if strings.Trim(strings.ToLower(keyword), "abcdefghijklmnopqrstuvwxyz0123456789") != "" || keyword == "" {
			return fmt.Errorf("%q is no option of ssh", keyword)
		}
		fillIn(options, strings.ToLower(keyword), values...)
	}
	return nil
}

// readKeywords are those that newEndpoint understands.
var readKeywords = []string{
	"User", "HostName", "Port", "HostKeyAlias", "IdentityFile", "CertificateFile", "IdentityAgent", "IdentitiesOnly",
	"UserKnownHostsFile", "GlobalKnownHostsFile", "RevokedHostKeys", "ProxyCommand", "ProxyJump", "ConnectTimeout",
}

var (
	matchLine   = regexp.MustCompile(`(?im)^[ \t]*match[ \t=].*$`)
	includeLine = regexp.MustCompile(`(?im)^[ \t]*include[ \t=]+(.*)$`)

	// readable is the Match that the library reads as ssh does. Other criteria
	// it refuses without a reason, takes for fulfilled or, as with host, holds
	// against the name before HostName has changed it.
	readable = regexp.MustCompile(`(?i)^[ \t]*match[ \t=]+all[ \t]*$`)
)

// readConfigFile adds to options what they do not have yet.
func readConfigFile(file, name, home string, must bool, options map[string][]string) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && !must {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading ssh's configuration: %w", err)
	}
	if err := refuseUnreadable(file, string(text), home, includeDepth); err != nil {
		return err
	}
	parsed, err := ssh_config.DecodeBytes(text)
	if err != nil {
		return fmt.Errorf("reading ssh's configuration %s: %w", file, err)
	}
	found := map[string][]string{}
	for _, keyword := range readKeywords {
		values, err := parsed.GetAll(name, keyword)
		if err != nil {
			return fmt.Errorf("reading %s in ssh's configuration %s: %w", keyword, file, err)
		}
		for _, v := range values {
			found[strings.ToLower(keyword)] = append(found[strings.ToLower(keyword)], strings.Trim(v, `"`))
		}
	}
	_, jump := options["proxyjump"]
	_, command := options["proxycommand"]
	for keyword, values := range found {
		if strings.HasPrefix(keyword, "proxy") && (jump || command) {
			continue // the first of the two that is set wins
		}
		fillIn(options, keyword, values...)
	}
	return nil
}

// includeDepth is the library's.
const includeDepth = 5

// refuseUnreadable checks the text of file and of the files that it includes.
func refuseUnreadable(file, text, home string, depth int) error {
	for _, line := range matchLine.FindAllString(text, -1) {
		if !readable.MatchString(line) {
			return runtime.WithHint(
				fmt.Errorf("%s says %q, which cannot be read without ssh itself", file, strings.TrimSpace(line)),
				"install the ssh client, or give infra a simpler file")
		}
	}
	if depth == 0 {
		return fmt.Errorf("the files included by ssh's configuration are nested too deeply in %s", file)
	}
	for _, m := range includeLine.FindAllStringSubmatch(text, -1) {
		for _, pattern := range words(m[1]) {
			if err := refuseIncluded(file, pattern, home, depth-1); err != nil {
				return err
			}
		}
	}
	return nil
}

func refuseIncluded(file, pattern, home string, depth int) error {
	if rest, ok := strings.CutPrefix(pattern, "~/"); ok {
		pattern = filepath.Join(home, rest)
	} else if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(home, ".ssh", pattern)
	}
	matches, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("%s includes %q: %w", file, pattern, err)
	}
	for _, match := range matches {
		text, err := os.ReadFile(match)
		if err != nil {
			return fmt.Errorf("%s includes a file: %w", file, err)
		}
		if err := refuseUnreadable(match, string(text), home, depth); err != nil {
			return err
		}
	}
	return nil
}
