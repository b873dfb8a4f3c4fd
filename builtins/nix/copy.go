package nix

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
	"infra/runtime/remote"
)

var copySpec = call.Spec{
	Name:   "nix.copy",
	Effect: runtime.Change,
	Doc: "Copies store paths and all that they need from the store here to hosts, one operation for each. " +
		"What a host has already is not sent.",
	Example: `system = nix.build(".#darwinConfigurations.blackphos.system")
nix.copy(system, to = mac)
`,
}

type copyArgs struct {
	Path call.StorePaths `arg:"path" doc:"what to copy"`
	To   call.Hosts      `arg:"to" doc:"where to"`
}

func (m module) copy(c *call.Call, a copyArgs) (starlark.Value, error) {
	for _, h := range a.To {
		if _, err := c.Do(m.copyOp(a.Path, h)); err != nil {
			return nil, err
		}
	}
	return starlark.None, nil
}

// copyOp is the operation nix.copy of paths to one host.
func (m module) copyOp(paths []*runtime.StorePath, to *runtime.Host) runtime.Op {
	cp := copying{module: m, to: to}
	for _, p := range paths {
		cp.paths = append(cp.paths, p.Path)
	}
	return runtime.Op{
		Name: "nix.copy", Host: to.Name, Once: true, Repeatable: true,
		Args:  runtime.Args{"path": cp.paths, "to": to.Name},
		Show:  strings.Join(cp.paths, " ") + " -> " + to.Name,
		Looks: storeFiles, Alters: storeFiles,
		Predict: cp.predict, Run: cp.run,
		NotKnown: func() starlark.Value { return starlark.None },
	}
}

// copying is some paths on their way to a host's store.
type copying struct {
	module
	paths []string
	to    *runtime.Host
}

// missing returns what the host lacks of some paths and all that they need.
func (cp copying) missing(ctx context.Context, log io.Writer, paths []string) ([]string, error) {
	closure, err := cp.here(log).requisites(ctx, paths...)
	if err != nil {
		return nil, err
	}
	return cp.storeOf(cp.to, log).invalid(ctx, closure)
}

func (cp copying) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	// The store here is only asked for what the host lacks: a path that is
	// there is there with all that it needs.
	paths, err := cp.storeOf(cp.to, log).invalid(ctx, cp.paths)
	if err != nil || len(paths) == 0 {
		return runtime.Result{}, err
	}
	missing, err := cp.missing(ctx, log, paths)
	if err != nil {
		return runtime.Result{}, err
	}
	target, env, done, err := cp.target(ctx, log)
	if err != nil {
		return runtime.Result{}, err
	}
	defer done()
	fmt.Fprintf(log, "copying %s to %s\n", count(len(missing), "path"), cp.to.Name)
	args := append([]string{"copy", "--no-check-sigs", "--to", target}, paths...)
	if _, err := cp.nixCommand(ctx, log, env, args...); err != nil {
		return runtime.Result{}, copyError(err)
	}
	return runtime.Result{Changed: true}, nil
}

// copyError explains the one refusal that nix words as a matter of signatures.
func copyError(err error) error {
	said := err.Error()
	if strings.Contains(said, "signature") || strings.Contains(said, "not trusted") || strings.Contains(said, "untrusted") {
		return runtime.WithHint(err, "the host takes unsigned paths only from root and from trusted users: "+
			"log in as root, or add the login to nix.settings.trusted-users of the host")
	}
	return err
}

// target returns the URL of the host's store and the environment in which nix
// reaches it by ssh exactly as the rest of infra does, until done is called.
func (cp copying) target(ctx context.Context, log io.Writer) (_ string, env map[string]runtime.Text, done func(), err error) {
	daemon, err := cp.storeOf(cp.to, log).script(ctx, "looking for nix-daemon", remote.Command{}, "command -v nix-daemon || exit 127")
	if err != nil {
		return "", nil, nil, err
	}
	address, port, err := sshAddress(cp.to)
	if err != nil {
		return "", nil, nil, err
	}
	place, done, err := cp.pool.OpenSSH(ctx, cp.to)
	if err != nil {
		return "", nil, nil, err
	}
	opts, err := cp.options(place, port)
	if err != nil {
		done()
		return "", nil, nil, err
	}
	query := url.Values{"remote-program": {strings.TrimSpace(daemon.Stdout)}}
	return "ssh-ng://" + address + "?" + query.Encode(), map[string]runtime.Text{"NIX_SSHOPTS": runtime.PlainText(opts)}, done, nil
}

// options are those of a place, which go first: of two for the same, ssh takes
// the first.
func (cp copying) options(place []remote.Option, port string) (string, error) {
	opts := ""
	for _, o := range place {
		if strings.ContainsAny(o.Value, shellSigns) {
			return "", fmt.Errorf("host %s: nix cannot be told of the ssh option %s=%q: it has a space or a sign that a shell reads", cp.to.Name, o.Name, o.Value)
		}
		opts += "-o " + o.Name + "=" + o.Value + " "
	}
	if len(place) > 0 {
		port = "" // theirs
	}
	rest, err := sshOptions(cp.sshConfig, port)
	if err != nil {
		return "", err
	}
	return addressOptions(opts+rest, cp.to)
}

// sshAddress is the host as ssh is asked for it, so that ssh itself looks an
// alias up, and the port where the plan names one: not every nix takes it in a URL.
func sshAddress(h *runtime.Host) (address, port string, err error) {
	if h.SSH == "" {
		return h.Name, "", nil
	}
	if !strings.HasPrefix(h.SSH, "ssh://") {
		return h.SSH, "", nil
	}
	u, err := url.Parse(h.SSH)
	if err != nil || u.Hostname() == "" {
		return "", "", fmt.Errorf("host %s: %q is no ssh address", h.Name, h.SSH)
	}
	address = u.Hostname()
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	if user := u.User.Username(); user != "" {
		address = user + "@" + address
	}
	return address, u.Port(), nil
}

// addressOptions adds the options of a host's address, "ssh://host?Option=value".
func addressOptions(opts string, h *runtime.Host) (string, error) {
	u, err := url.Parse(h.SSH)
	if err != nil || u.Scheme != "ssh" {
		return opts, nil // a plain name
	}
	query := u.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		option := name + "=" + query.Get(name)
		if strings.ContainsAny(option, shellSigns) {
			return "", fmt.Errorf("host %s: nix cannot be told of the ssh option %q: it has a space or a sign that a shell reads", h.Name, option)
		}
		opts += " -o " + option
	}
	return opts, nil
}

// shellSigns are what the nix of some versions would not take as they are.
const shellSigns = " \t\n\"'\\$`;&|<>()*?#~"

// sshOptions is the value of NIX_SSHOPTS. Until 2.26 nix splits it at white
// space, since then as a shell does: only a path that both read alike will do.
func sshOptions(config, port string) (string, error) {
	opts := []string{"-o BatchMode=yes", "-o StrictHostKeyChecking=yes"}
	if port != "" {
		opts = append(opts, "-p "+port)
	}
	if config != "" {
		if strings.ContainsAny(config, shellSigns) {
			return "", runtime.WithHint(fmt.Errorf("nix cannot be told of the ssh configuration %q: its path has a space or a sign that a shell reads", config),
				"give --ssh-config a plain path")
		}
		opts = append([]string{"-F " + config}, opts...)
	}
	return strings.Join(opts, " "), nil
}
