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
		"What a host has already is not sent. A login that is neither root nor a trusted user of the host's nix copies by sudo, " +
		"where it may use that without a password; else the host takes only what is signed by a key that it trusts.",
	Example: `system = nix.build(".#darwinConfigurations.blackphos.system")
nix.copy(system, to = mac)
`,
}

type copyArgs struct {
	Path       call.StorePaths `arg:"path" doc:"what to copy"`
	To         call.Hosts      `arg:"to" doc:"where to"`
	Substitute bool            `arg:"substitute_on_destination,keyword" default:"False" doc:"the host fetches from its own substituters what they have, and only the rest is sent"`
	Check      bool            `arg:"check_signatures,keyword" default:"False" doc:"the host takes only what is signed by a key that it trusts, whoever the login is"`
}

func (m module) copy(c *call.Call, a copyArgs) (starlark.Value, error) {
	for _, h := range a.To {
		cp := copying{module: m, to: h, paths: pathsOf(a.Path), substitute: a.Substitute, checkSignatures: a.Check}
		if _, err := c.Do(cp.op()); err != nil {
			return nil, err
		}
	}
	return starlark.None, nil
}

// copyOp is the operation nix.copy of paths to one host.
func (m module) copyOp(paths []*runtime.StorePath, to *runtime.Host) runtime.Op {
	return copying{module: m, to: to, paths: pathsOf(paths)}.op()
}

func pathsOf(paths []*runtime.StorePath) []string {
	var all []string
	for _, p := range paths {
		all = append(all, p.Path)
	}
	return all
}

// copying is some paths on their way to a host's store.
type copying struct {
	module
	paths []string
	to    *runtime.Host

	substitute      bool // the host fetches what its substituters have
	checkSignatures bool // and takes nothing that is not signed
}

func (cp copying) op() runtime.Op {
	args := runtime.Args{"path": cp.paths, "to": cp.to.Name}
	if cp.substitute {
		args["substitute_on_destination"] = true
	}
	if cp.checkSignatures {
		args["check_signatures"] = true
	}
	return runtime.Op{
		Name: "nix.copy", Host: cp.to.Name, Once: true, Repeatable: true,
		Args:  args,
		Show:  strings.Join(cp.paths, " ") + " -> " + cp.to.Name,
		Looks: storeFiles, Alters: storeFiles,
		Predict: cp.predict, Run: cp.run,
		NotKnown: func() starlark.Value { return starlark.None },
	}
}

// missing returns what the host lacks of some paths and all that they need.
func (cp copying) missing(ctx context.Context, log io.Writer, paths []string) ([]string, error) {
	closure, err := cp.here(log).requisites(ctx, paths...)
	if err != nil {
		return nil, err
	}
	return cp.storeOf(cp.to, log).invalid(ctx, closure)
}

// run asks the host once, and not the store here: a path that is there is there with
// all that it needs, and of the rest nix finds out itself what is to be sent.
func (cp copying) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	lacking, access, err := cp.lacking(ctx, log)
	if err != nil || len(lacking) == 0 {
		return runtime.Result{}, err
	}
	target, env, done, err := cp.target(ctx, log, access)
	if err != nil {
		return runtime.Result{}, err
	}
	defer done()
	if way := cp.way(access); way != "" {
		fmt.Fprintln(log, way)
	}
	args := append(append([]string{"copy"}, cp.flags()...), "--to", target)
	args = append(args, lacking...)
	sizes := func(copied []string) map[string]int64 { return cp.sizesOf(ctx, lacking, copied) }
	if _, err := cp.nixCopy(ctx, log, env, sizes, args...); err != nil {
		if _, absent := cp.here(io.Discard).requisites(ctx, lacking...); absent != nil && ctx.Err() == nil {
			return runtime.Result{}, absent
		}
		return runtime.Result{}, cp.refused(err, access)
	}
	return runtime.Result{Changed: true}, nil
}

// sizesOf is what was copied of some paths, and what the host still lacks, each with
// what it takes, for people: nothing where it cannot be told.
func (cp copying) sizesOf(ctx context.Context, paths, copied []string) map[string]int64 {
	known := map[string]int64{}
	missing, err := cp.missing(ctx, io.Discard, paths)
	if err != nil {
		return known
	}
	all := append(missing, copied...)
	sizes, err := cp.here(io.Discard).sizes(ctx, all)
	if err != nil {
		return known
	}
	for i, path := range all {
		known[path] = sizes[i]
	}
	return known
}

// target returns the URL of the host's store and the environment in which nix
// reaches it by ssh exactly as the rest of infra does, and over the same connection,
// until done is called.
func (cp copying) target(ctx context.Context, log io.Writer, a access) (_ string, env map[string]runtime.Text, done func(), err error) {
	address, port, err := sshAddress(cp.to)
	if err != nil {
		return "", nil, nil, err
	}
	place, forget, err := cp.pool.OpenSSH(ctx, cp.to)
	if err != nil {
		return "", nil, nil, err
	}
	opts, err := cp.options(place, port)
	if err != nil {
		forget()
		return "", nil, nil, err
	}
	apart := cp.copyRate != nil
	shared, unshare := cp.pool.Share(ctx, cp.to, cp.copyRate)
	done = func() { unshare(); forget() }
	for _, o := range shared {
		if option := "-o " + o.Name + "=" + o.Value; !strings.ContainsAny(o.Value, shellSigns) {
			opts = option + " " + opts // else ssh connects by itself
			apart = apart && o.Name != "ControlPath"
		}
	}
	if apart {
		_, _ = fmt.Fprintln(log, "not held to the rate of --copy-rate: the path of a temporary folder is too long, or has a sign that a shell reads, so ssh connects by itself")
	}
	return "ssh-ng://" + address + "?" + cp.query(a), map[string]runtime.Text{"NIX_SSHOPTS": runtime.PlainText(opts)}, done, nil
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
