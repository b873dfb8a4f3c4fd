package clan

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
	"infra/runtime/remote"
)

var hardwareSpec = call.Spec{
	Name:    "clan.hardware_config",
	Effect:  runtime.Change,
	Doc:     "Writes what the hardware of a host is into the clan, by clan, and commits it. The host is only looked at. The file is looked at afterwards, whatever clan says.",
	Returns: "hardware_written",
	Fields: []call.Field{
		{Name: "changed", Type: "bool", Doc: "False where the file is as it was"},
		{Name: "file", Type: "string", Doc: "from the clan's folder"},
		{Name: "files", Type: "list of strings", Doc: "the files that changed, from the clan's folder"},
	},
	Example: `written = clan.hardware_config(vps)
log("see " + written.file)
`,
}

type hardwareArgs struct {
	Host         *runtime.Host `arg:"host" doc:"which machine, by the host's name"`
	Backend      string        `arg:"backend,keyword" default:"nixos-facter" doc:"\"nixos-facter\" or \"nixos-generate-config\""`
	Target       call.Target   `arg:"target,keyword" default:"" doc:"where it answers, [user@]host[:port], or the host by ssh.at; as the host says if not given"`
	Identity     string        `arg:"identity,keyword" default:"" doc:"the file of the ssh key to log in with, from the project's root"`
	HostKeyCheck string        `arg:"host_key_check,keyword" default:"strict" doc:"\"strict\", \"accept-new\" or \"none\""`
	Commit       bool          `arg:"commit,keyword" default:"True" doc:"commit what changed"`
}

// describing writes a machine's hardware file.
type describing struct {
	driver
	hardwareArgs
	at      *runtime.Host
	unknown runtime.Unknown
}

func (d driver) hardware(c *call.Call, a hardwareArgs) (starlark.Value, error) {
	at, err := reachedAt(a.Host, a.Target)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	h := describing{d, a, at, c.Unknown()}
	looks, _ := d.Looks(".#clanInternals")
	res, err := c.Do(runtime.Op{
		Repeatable: true, Needs: at.Pending(), Show: "clan machines update-hardware-config " + a.Host.Name,
		Looks: looks, Beyond: true, Flake: true, Alters: d.alters(a.Host.Name),
		Predict: h.predict, Run: h.run, Settle: goOn, Forget: d.forget,
		NotKnown: func() starlark.Value {
			return h.result(h.unknown.As(runtime.BoolShape), h.unknown.As(runtime.StringsShape))
		},
	})
	if err != nil || !a.Commit {
		return res.Value, err
	}
	return res.Value, d.commit(c, committing{
		subject: "hardware of " + a.Host.Name, unsure: unsure(res.Value),
		about: func() (what, files []string) {
			if unsure(res.Value) {
				return nil, []string{h.file()}
			}
			return nil, fieldStrings(res.Value, "files")
		},
	})
}

// file is what clan writes, from its folder.
func (h describing) file() string {
	name := "facter.json"
	if h.Backend == "nixos-generate-config" {
		name = "hardware-configuration.nix"
	}
	return filepath.Join("machines", h.Host.Name, name)
}

func (h describing) result(changed, files starlark.Value) *runtime.Record {
	return runtime.NewRecord("hardware_written",
		runtime.Field{Name: "changed", Value: changed},
		runtime.Field{Name: "file", Value: starlark.String(h.file())},
		runtime.Field{Name: "files", Value: files})
}

// ready refuses what would fail, and returns the call of clan.
func (h describing) ready(ctx context.Context, options []remote.Option) ([]string, error) {
	f, err := h.say(ctx, h.Host.Name)
	if err == nil {
		err = noMac(h.Host, f, "describes the hardware of")
	}
	if err != nil {
		return nil, err
	}
	target, settings, err := h.reach(ctx, h.at, h.Identity, options)
	if err != nil {
		return nil, err
	}
	settings = append(settings, setting{"target", target}, setting{"yes", ""}, setting{"backend", h.Backend}, setting{"host_key_check", h.HostKeyCheck})
	return h.argv(ctx, invocation{leaf: updateHardware, positional: []string{h.Host.Name}, settings: settings})
}

func (h describing) predict(ctx context.Context) (runtime.Prediction, error) {
	if _, err := h.ready(ctx, nil); err != nil {
		return runtime.Prediction{}, err
	}
	detail := "make " + h.file()
	if there(filepath.Join(h.dir, h.file())) {
		detail = "write " + h.file() + " again"
	}
	return runtime.Prediction{Verdict: runtime.WillChange, Detail: detail,
		Value: h.result(h.unknown.As(runtime.BoolShape), h.unknown.As(runtime.StringsShape))}, nil
}

func (h describing) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	done, err := h.takeTurn(ctx, log)
	if err != nil {
		return runtime.Result{}, err
	}
	defer done()
	options, forget, err := h.pool.OpenSSH(ctx, h.at)
	if err != nil {
		return runtime.Result{}, err
	}
	defer forget()
	argv, err := h.ready(ctx, options)
	if err != nil {
		return runtime.Result{}, err
	}
	before, _, err := h.before(ctx, h.Host.Name)
	if err != nil {
		return runtime.Result{}, err
	}
	written := modified(filepath.Join(h.dir, h.file()))
	out, err := h.converse(ctx, argv, &dialog{machine: h.Host.Name, log: log})
	if err == nil {
		err = out.Err("clan machines update-hardware-config")
	}
	if err == nil {
		err = h.verify(written)
	}
	after, lookErr := h.snapshot(h.Host.Name)
	if lookErr != nil {
		return runtime.Result{}, lookErr
	}
	files := after.since(before)
	if err != nil {
		return runtime.Result{}, partly(err, files)
	}
	return runtime.Result{Changed: len(files) > 0, Value: h.result(starlark.Bool(len(files) > 0), stringList(files))}, nil
}

// modified is when a file was written, and the zero time where there is none.
func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// verify finds out whether clan wrote the file: answered with no it exits 0 too.
func (h describing) verify(before time.Time) error {
	path := filepath.Join(h.dir, h.file())
	data, err := os.ReadFile(path)
	switch {
	case err != nil:
		err = fmt.Errorf("%s is not there", h.file())
	case modified(path).Equal(before):
		err = fmt.Errorf("%s was not written", h.file())
	case len(data) == 0, h.Backend == "nixos-facter" && !json.Valid(data):
		err = fmt.Errorf("%s holds no description of hardware", h.file())
	default:
		return nil
	}
	return runtime.WithHint(fmt.Errorf("clan says that it succeeded, and %w", err), "infra log shows what clan printed")
}
