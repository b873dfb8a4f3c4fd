package clan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
	"infra/runtime/remote"
)

var installSpec = call.Spec{
	Name:   "clan.install",
	Effect: runtime.Destroy,
	Doc: "Installs a machine's system on a host, by clan: the host's disks are erased. A preview shows them as they are now, and whether the host is an installer or a system that lives. " +
		"A run wants the machine's name typed, or infra run --destroy NAME. Afterwards the machine has to answer, and to run the very system of the flake, whatever clan says. The machine's vars have to be there.",
	Returns: "installed",
	Fields: []call.Field{
		{Name: "changed", Type: "bool", Doc: "True"},
		{Name: "system", Type: "store_path", Doc: "what the machine runs now"},
	},
	Example: `def reinstall(machine):
    return clan.install(machine, timeout = "30m").system
`,
}

type installArgs struct {
	Host     *runtime.Host `arg:"host" doc:"which machine, by the host's name; where it answers afterwards"`
	Target   call.Target   `arg:"target,keyword" default:"" doc:"where it answers until then, [user@]host[:port], or the host by ssh.at; the same if not given"`
	Identity string        `arg:"identity,keyword" default:"" doc:"the file of the ssh key to log in with, from the project's root"`
	BuildOn  string        `arg:"build_on,keyword" default:"" doc:"\"auto\", \"local\" or \"remote\"; what clan does if not given"`
	Kexec    string        `arg:"kexec,keyword" default:"" doc:"another installer to start than clan's: a URL, or a file"`
	Timeout  time.Duration `arg:"timeout,keyword" default:"15m" doc:"how long the machine may take to answer when clan has ended"`
}

// installing is one machine that is installed.
type installing struct {
	driver
	installArgs
	at      *runtime.Host // where it answers until it is installed
	unknown runtime.Unknown
}

func (d driver) install(c *call.Call, a installArgs) (starlark.Value, error) {
	at, err := reachedAt(a.Host, a.Target)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	i := installing{d, a, at, c.Unknown()}
	return c.Value(runtime.Op{
		Host: a.Host.Name, At: at, EndsHost: true, Show: "clan machines install " + a.Host.Name,
		Here: []string{d.dir}, Flake: true,
		Predict: i.predict, Run: i.run, NotKnown: func() starlark.Value { return i.result(i.unknown.As(runtime.StorePathShape)) },
	})
}

// reachedAt is a host as it is reached at another place.
func reachedAt(h *runtime.Host, target call.Target) (*runtime.Host, error) {
	switch {
	case target.Host != nil && target.Host.Name != h.Name:
		return nil, fmt.Errorf("%s is another host than %s", target.Host.Name, h.Name)
	case target.Host != nil:
		return target.Host, nil
	case target.Text == "":
		return h, nil
	}
	ssh, err := parseTarget(target.Text)
	if err != nil {
		return nil, err
	}
	at := *h
	at.SSH, at.Place = ssh, nil
	return &at, nil
}

func (i installing) result(system starlark.Value) *runtime.Record {
	return runtime.NewRecord("installed",
		runtime.Field{Name: "changed", Value: starlark.True}, runtime.Field{Name: "system", Value: system})
}

// ready refuses what would fail, or do harm, and returns the call of clan and
// the system that the machine is to run. options are more of ssh's, for clan.
func (i installing) ready(ctx context.Context, options []remote.Option) (argv []string, system string, err error) {
	f, err := i.say(ctx, i.Host.Name)
	if err != nil {
		return nil, "", err
	}
	if err := noMac(i.Host, f, "installs"); err != nil {
		return nil, "", err
	}
	if err := i.hasVars(f); err != nil {
		return nil, "", err
	}
	target, settings, err := i.reach(ctx, i.at, i.Identity, options)
	if err != nil {
		return nil, "", err
	}
	settings = append(settings, setting{"target", target}, setting{"yes", ""}, setting{"no_persist_state", ""}, setting{"host_key_check", i.hostKeyCheck()})
	for _, s := range []setting{{"build_on", i.BuildOn}, {"kexec", i.Kexec}} {
		if s.value != "" {
			settings = append(settings, s)
		}
	}
	argv, err = i.argv(ctx, invocation{leaf: machinesInstall, positional: []string{i.Host.Name}, settings: settings})
	if err != nil {
		return nil, "", err
	}
	out, err := i.Eval(ctx, io.Discard, `.#nixosConfigurations."`+i.Host.Name+`".config.system.build.toplevel.outPath`, "")
	if err == nil {
		err = json.Unmarshal(out, &system)
	}
	if err != nil {
		return nil, "", fmt.Errorf("what %s is to run cannot be evaluated: %w", i.Host.Name, err)
	}
	return argv, system, nil
}

// hostKeyCheck is what clan is told of the host's key: infra has reached the
// host before, and knows it.
func (i installing) hostKeyCheck() string {
	if i.at.Place != nil {
		return "strict"
	}
	return "accept-new"
}

// noMac refuses what clan cannot do for a Mac, or would do to the wrong one:
// with a build host it runs darwin-rebuild switch on that.
func noMac(h *runtime.Host, f flakeSays, does string) error {
	m := f.Machines[h.Name]
	if h.Kind() != runtime.Darwin && m.Class != runtime.Darwin {
		return nil
	}
	err := fmt.Errorf("%s is a Mac, and clan %s no Macs", h.Name, does)
	if m.BuildHost != nil {
		err = fmt.Errorf("%w; its buildHost %s in the inventory is refused too: clan would switch that machine instead of the Mac", err, *m.BuildHost)
	}
	return runtime.WithHint(err, "a Mac that runs nix-darwin is changed by nix.build, nix.copy and nix.switch")
}

// hasVars fails where clan would generate vars in the middle of an install.
func (i installing) hasVars(f flakeSays) error {
	if f.Vars == nil {
		return nil
	}
	p := &pending{dir: i.dir, machine: i.Host.Name, vars: f.Vars}
	var all []string
	for name := range f.Vars.Generators {
		all = append(all, name)
	}
	if p.choose(all, false); len(p.generators) == 0 {
		return nil
	}
	return runtime.WithHint(fmt.Errorf("vars of %s are missing or stale: %s", i.Host.Name, strings.Join(p.generators, ", ")),
		"clan.vars.generate makes them, in a step before")
}

// reach is how clan is told to reach a host: by what ssh's configuration says
// of it, since clan does not read the one that infra was given.
func (d driver) reach(ctx context.Context, h *runtime.Host, identity string, more []remote.Option) (target string, settings []setting, err error) {
	e, err := d.pool.Endpoint(ctx, h)
	if err != nil {
		return "", nil, err
	}
	host := e.HostName
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	target = e.User + "@" + host
	if e.Port != 22 {
		target = e.User + "@" + net.JoinHostPort(e.HostName, strconv.Itoa(e.Port))
	}
	options := url.Values{}
	if len(e.Certificates) > 0 && there(e.Certificates[0]) {
		options.Set("CertificateFile", e.Certificates[0])
	}
	if len(e.ProxyJump) > 0 {
		options.Set("ProxyJump", strings.Join(e.ProxyJump, ","))
	}
	for _, o := range more {
		if o.Name != "HostName" && o.Name != "Port" && o.Name != "StrictHostKeyChecking" { // which clan says itself
			options.Set(o.Name, o.Value)
		}
	}
	if len(options) > 0 {
		target += "?" + options.Encode()
	}
	if identity != "" && !filepath.IsAbs(identity) {
		identity = filepath.Join(d.Root, identity)
	}
	if k := slices.IndexFunc(e.IdentityFiles, there); identity == "" && e.IdentitiesOnly && k >= 0 {
		identity = e.IdentityFiles[k]
	}
	if identity != "" {
		settings = append(settings, setting{"identity", identity})
	}
	return target, settings, nil
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (i installing) predict(ctx context.Context) (runtime.Prediction, error) {
	_, system, err := i.ready(ctx, nil)
	if err != nil {
		return runtime.Prediction{}, err
	}
	now, err := i.look(ctx, i.at)
	if err != nil {
		return runtime.Prediction{}, fmt.Errorf("what would be erased cannot be shown: %w", err)
	}
	return runtime.Prediction{Verdict: runtime.WillDestroy, Detail: now.String(), Value: i.result(&runtime.StorePath{Path: system})}, nil
}

func (i installing) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	options, forget, err := i.pool.OpenSSH(ctx, i.at)
	if err != nil {
		return runtime.Result{}, fmt.Errorf("it does not answer, and nothing was done: %w", err)
	}
	defer forget()
	argv, system, err := i.ready(ctx, options)
	if err != nil {
		return runtime.Result{}, err
	}
	before, err := i.look(ctx, i.at)
	if err != nil {
		return runtime.Result{}, fmt.Errorf("it does not answer, and nothing was done: %w", err)
	}
	fmt.Fprintln(log, before)
	done, err := i.takeTurn(ctx, log)
	if err != nil {
		return runtime.Result{}, err
	}
	out, err := i.converse(ctx, argv, &dialog{machine: i.Host.Name, log: log})
	done()
	if err == nil {
		err = out.Err("clan machines install")
	}
	if err != nil {
		return runtime.Result{}, runtime.WithHint(fmt.Errorf("%w\nits disks may be erased already", err), "look at the host before it is installed again")
	}
	if err := i.answers(ctx, system); err != nil {
		return runtime.Result{}, err
	}
	return runtime.Result{Changed: true, Value: i.result(&runtime.StorePath{Path: system})}, nil
}

// between two questions whether the machine answers.
const askAgain = 2 * time.Second

// answers waits until the machine runs the system, and is no installer: what
// an exit code of clan's says is not enough.
func (i installing) answers(ctx context.Context, system string) error {
	late, cancel := context.WithTimeout(ctx, i.Timeout)
	defer cancel()
	for {
		now, err := i.look(late, i.Host)
		switch {
		case err == nil && now.Installer:
			err = errors.New("it is an installer still")
		case err == nil && now.System != system:
			err = fmt.Errorf("it runs %s, and not %s", orNothing(now.System), system)
		case err == nil:
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late.Done():
			return runtime.WithHint(fmt.Errorf("clan says that it installed %s, and after %s: %w", i.Host.Name, i.Timeout, err),
				"where the new system has another host key: ssh-keygen -R removes the one of before")
		case <-time.After(askAgain):
		}
	}
}

func orNothing(system string) string {
	if system == "" {
		return "no system of nix"
	}
	return system
}
