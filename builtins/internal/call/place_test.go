package call

import (
	"context"
	"encoding/json"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/runtime"
)

type placeArgs struct {
	Host   *runtime.Host `arg:"host" doc:"."`
	To     Hosts         `arg:"to,keyword" default:"" doc:"."`
	Target Target        `arg:"target,keyword" default:"" doc:"."`
	Late   Late          `arg:"late,keyword" default:"" doc:"."`
}

// An operation on a host that is reached at an address has that host, and waits
// where the address is not known. One on another host does not.
func TestOperationsOnPlacedHosts(t *testing.T) {
	var late Late
	spec := New(Spec{Name: "m.f", Effect: runtime.Change}, func(c *Call, a placeArgs) (starlark.Value, error) {
		late = a.Late
		for _, name := range []string{"vps", "mac", ""} {
			if _, err := c.Do(runtime.Op{Host: name, Looks: runtime.Nothing}); err != nil {
				return nil, err
			}
		}
		return starlark.None, nil
	})
	file := "a.star"
	u := runtime.Unknown{Op: "terraform.apply", Pos: syntax.MakePosition(&file, 3, 1)}
	vps := &runtime.Host{Name: "vps"}
	for expr, want := range map[string]struct {
		args   string
		at     *runtime.Place
		needs  bool
		others bool // that what is asked of other hosts waits too
	}{
		`m.f(vps)`:                  {`{"host":"vps"}`, nil, false, false},
		`m.f(at)`:                   {`{"host":{"address":"10.0.0.1","instance":"42","name":"vps"}}`, &runtime.Place{Address: "10.0.0.1", Instance: "42"}, false, false},
		`m.f(pending)`:              {`{"host":{"address":"` + u.String() + `","name":"vps"}}`, &runtime.Place{Address: u.String(), Pending: &u}, true, false},
		`m.f(mac, to = [mac, at])`:  {`{"host":"mac","to":["mac",{"address":"10.0.0.1","instance":"42","name":"vps"}]}`, &runtime.Place{Address: "10.0.0.1", Instance: "42"}, false, false},
		`m.f(mac, to = mac)`:        {`{"host":"mac","to":["mac"]}`, nil, false, false},
		`m.f(vps, target = at)`:     {`{"host":"vps","target":{"address":"10.0.0.1","instance":"42","name":"vps"}}`, &runtime.Place{Address: "10.0.0.1", Instance: "42"}, false, false},
		`m.f(vps, target = "x")`:    {`{"host":"vps","target":"x"}`, nil, false, false},
		`m.f(vps, target = u)`:      {`{"host":"vps","target":"` + u.String() + `"}`, nil, true, true},
		`m.f(at, target = pending)`: {`{"host":{"address":"10.0.0.1","instance":"42","name":"vps"},"target":{"address":"` + u.String() + `","name":"vps"}}`, &runtime.Place{Address: "10.0.0.1", Instance: "42"}, true, false},
		`m.f(vps, late = u)`:        {`{"host":"vps","late":"` + u.String() + `"}`, nil, false, false},
	} {
		var asked []runtime.Op
		env := Modules(func(_ context.Context, op runtime.Op) (runtime.Result, error) {
			asked = append(asked, op)
			return runtime.Result{}, nil
		}, []Spec{spec})
		env["vps"], env["mac"], env["u"] = vps, &runtime.Host{Name: "mac"}, u
		env["at"] = vps.At(runtime.Place{Address: "10.0.0.1", Instance: "42"})
		env["pending"] = vps.At(runtime.Place{Address: u.String(), Pending: &u})
		if _, err := starlark.EvalOptions(&syntax.FileOptions{}, new(starlark.Thread), file, expr, env); err != nil || len(asked) != 3 {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		op, mac, here := asked[0], asked[1], asked[2]
		if args, _ := json.Marshal(op.Args); string(args) != want.args {
			t.Errorf("%s: %s", expr, args)
		}
		if (op.At == nil) != (want.at == nil) || op.At != nil && *op.At.Place != *want.at || (op.Needs != nil) != want.needs {
			t.Errorf("%s: at %+v, needs %v", expr, op.At, op.Needs)
		}
		if mac.At != nil || here.At != nil || (mac.Needs != nil) != want.others || (here.Needs != nil) != want.others {
			t.Errorf("%s: elsewhere at %v, needs %v", expr, mac.At, mac.Needs)
		}
		if late.Given != (late.Text != "") || late.Given != (late.Unknown != nil) {
			t.Errorf("%s: %+v", expr, late)
		}
	}
}
