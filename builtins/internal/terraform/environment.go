package terraform

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-exec/tfexec"
)

// inherited are the variables of infra's environment that terraform gets. All
// others stay outside: a stray TF_VAR_x or TF_CLI_ARGS_plan would change what
// is planned, and a token that is meant for another account would be used.
var inherited = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LANG", "TZ", "SSH_AUTH_SOCK",
	"TF_CLI_CONFIG_FILE", "TF_PLUGIN_CACHE_DIR", "GOGC", "GOMEMLIMIT",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "NIX_SSL_CERT_FILE",
}

var inheritedPrefixes = []string{"XDG_", "LC_"}

// environment is what terraform and all that it starts have: what reading
// commands may be given, for terraform-exec adds the rest by itself.
func (d *Dir) environment(data string) map[string]string {
	env := map[string]string{}
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if slices.Contains(inherited, name) || slices.ContainsFunc(inheritedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			env[name] = value
		}
	}
	for name, value := range d.Env {
		env[name] = value.Reveal()
	}
	// A configuration that is not there is an empty one; but tofu would say so in
	// the midst of its JSON, again and again.
	if _, err := os.Stat(env["TF_CLI_CONFIG_FILE"]); env["TF_CLI_CONFIG_FILE"] != "" && err != nil {
		env["TF_CLI_CONFIG_FILE"] = os.DevNull
	}
	env["CHECKPOINT_DISABLE"] = "1"
	env["TF_DATA_DIR"] = data
	return env
}

// hasty are settings for programs in Go that live for a second: they collect
// garbage less often, up to a size at which that counts. It saves an eighth of
// the time of a plan and its apply.
var hasty = map[string]string{"GOGC": "400", "GOMEMLIMIT": "1GiB"}

// environ is environment for a process of our own.
func environ(env map[string]string) []string {
	all := maps.Clone(hasty)
	maps.Copy(all, env)
	all["TF_IN_AUTOMATION"] = "1"
	all["TF_INPUT"] = "0"
	var list []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, name+"="+all[name])
	}
	return list
}

// checkEnv refuses variables that would undo what infra sees to.
func (d *Dir) checkEnv() error {
	for _, name := range slices.Sorted(maps.Keys(d.Env)) {
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00"):
			return fmt.Errorf("%q is no name of an environment variable", name)
		case strings.HasPrefix(name, "TF_VAR_"):
			return fmt.Errorf("%s cannot be set in the environment: the variable's place is vars", name)
		case name == "TF_DATA_DIR" || len(tfexec.ProhibitedEnv(map[string]string{name: ""})) > 0:
			return fmt.Errorf("%s cannot be set in the environment: infra sets it, or keeps it from terraform", name)
		}
	}
	return nil
}
