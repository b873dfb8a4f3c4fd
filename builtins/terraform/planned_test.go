package terraform

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// load reads a plan that terraform 1.11.4 made; testdata/README says of what.
func load(t testing.TB, name string) *tfjson.Plan {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func parse(data []byte) (*tfjson.Plan, error) {
	p := new(tfjson.Plan)
	p.UseJSONNumber(true)
	return p, json.Unmarshal(data, p)
}

func TestWhatAPlanDoes(t *testing.T) {
	for name, want := range map[string]struct {
		creates, updates, replaces, deletes, installs string
		outputs, unknown                              string
		changed, destroys                             bool
	}{
		"nothing": {outputs: "all big f id key mod size"},
		"create": {
			creates:  `module.m.terraform_data.boot["a.b"] module.m.terraform_data.boot["c"] module.m.terraform_data.inner terraform_data.install terraform_data.secret terraform_data.server[0] terraform_data.server[1]`,
			installs: `module.m.terraform_data.boot["a.b"] module.m.terraform_data.boot["c"] terraform_data.install`,
			outputs:  "big f key size", unknown: "output.all output.id output.mod", changed: true, destroys: true,
		},
		"update": {
			updates: "module.m.terraform_data.inner terraform_data.secret terraform_data.server[0] terraform_data.server[1]",
			outputs: "all big f id key mod size", changed: true,
		},
		"replace": {
			replaces: "terraform_data.install terraform_data.server[0] terraform_data.server[1]", installs: "terraform_data.install",
			outputs: "big f key mod size", unknown: "output.all output.id", changed: true, destroys: true,
		},
		"tainted": {replaces: "terraform_data.server[1]", outputs: "all big f id key mod size", changed: true, destroys: true},
		"delete":  {deletes: "terraform_data.server[1]", outputs: "all big f id key mod size", changed: true, destroys: true},
		"destroy": {
			deletes: `module.m.terraform_data.boot["a.b"] module.m.terraform_data.boot["c"] module.m.terraform_data.inner terraform_data.install terraform_data.secret terraform_data.server[0] terraform_data.server[1]`,
			changed: true, destroys: true,
		},
		"plain": {creates: "terraform_data.a", outputs: "note", changed: true},
		"tofu":  {creates: "terraform_data.a", outputs: "note", changed: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := &directory{shown: "x"}
			p := read(load(t, name), nil)
			values, secrets := d.known(p)
			record, unknown, err := recordOf(d.record(p, false, "0", values, secrets))
			if err != nil || unknown != nil {
				t.Fatal(err, unknown)
			}
			same(t, "creates", record.creates, want.creates)
			same(t, "updates", record.updates, want.updates)
			same(t, "replaces", record.replaces, want.replaces)
			same(t, "deletes", record.deletes, want.deletes)
			same(t, "installs", record.installs, want.installs)
			var outputs []string
			for k := range values.Entries() {
				outputs = append(outputs, string(k.(starlark.String)))
			}
			same(t, "outputs", outputs, want.outputs)
			unknownOutputs := slices.DeleteFunc(p.unknowns(), func(s string) bool { return !strings.HasPrefix(s, "output.") })
			same(t, "unknown outputs", unknownOutputs, want.unknown)
			if record.changed != want.changed || record.destroys() != want.destroys {
				t.Errorf("changed %v, destroys %v", record.changed, record.destroys())
			}
		})
	}
}

func same(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%s:\ngot  %s\nwant %s", what, s, want)
	}
}

// TestDetail holds what a person reviews: what is lost first, what forces it,
// what is not known, what costs money, and nothing sensitive.
func TestDetail(t *testing.T) {
	d := &directory{shown: "x", costs: []string{"terraform_data"}}
	for name, wants := range map[string][]string{
		"replace": {
			"-/+ terraform_data.install (id 90175420-d2cc-cabd-5c20-a3479810e615): is deleted and made anew, costs money, runs its provisioners\n",
			`      triggers_replace = ["a"] -> ["b"]  forces the replace` + "\n",
			`      id = "94b3b7b7-2c8b-5a20-32e5-a681312107f9" -> (known after apply)` + "\n",
			`~   output id = "94b3b7b7-2c8b-5a20-32e5-a681312107f9" -> (known after apply)`,
		},
		"tainted": {"is deleted and made anew, it is tainted: it was left half made, costs money\n"},
		"update":  {"~   terraform_data.secret: is updated\n      input = (sensitive) -> (sensitive)\n", `      input.size = "cx22" -> "cx53"` + "\n", "output key = (sensitive) -> (sensitive)"},
		"delete":  {"-   terraform_data.server[1] (id f1587d66-13dc-d2c9-0312-da18fff1e961): is deleted"},
		"create":  {`+   terraform_data.server[0]: is created, costs money` + "\n      id = (known after apply)\n" + `      input = {"size":"cx22","tags":["a","b"]}` + "\n", `output all = {"id":"(known after apply)","size":"cx22"}`},
	} {
		got := d.detail(read(load(t, name), nil))
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %q:\n%s", name, want, got)
			}
		}
		if strings.Contains(got, "hunter2") || strings.Contains(got, "topsecret22") {
			t.Errorf("%s shows what is sensitive:\n%s", name, got)
		}
	}
	p := read(load(t, "create"), nil)
	p.Changes = append(p.Changes, change{Address: "z.z", Action: remove}, change{Address: "y.y", Action: update})
	lines := d.detail(p)
	at := func(s string) int { return strings.Index(lines, s) }
	if !(at("-   z.z") < at("+   terraform_data.install:") && at("terraform_data.install:") < at("+   terraform_data.secret") && at("terraform_data.secret") < at("~   y.y")) {
		t.Errorf("what is lost is not first:\n%s", lines)
	}
}

// TestASecretIsNowhere: neither a secret that was given nor what terraform
// calls sensitive is in what is shown or digested, where a provider copied it
// to, too.
func TestASecretIsNowhere(t *testing.T) {
	for _, name := range []string{"create", "update", "replace", "destroy"} {
		data, err := json.Marshal(read(load(t, name), []string{"cx22"}))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"hunter2hunter2", "topsecret22", "cx22"} {
			if strings.Contains(string(data), secret) {
				t.Errorf("%s holds %s:\n%s", name, secret, data)
			}
		}
	}
}

// TestDigest: it is the same for the same plan, whatever the order and the
// time, and another one for all that is shown.
func TestDigest(t *testing.T) {
	d := &directory{shown: "x"}
	base := d.digest(read(load(t, "update"), nil), false)
	again := load(t, "update")
	slices.Reverse(again.ResourceChanges)
	again.Timestamp, again.ResourceDrift = "another", again.ResourceChanges
	if got := d.digest(read(again, nil), false); got != base {
		t.Error("another order is another digest")
	}
	secret := load(t, "update")
	secret.OutputChanges["key"].After = "differs"
	if got := d.digest(read(secret, nil), false); got != base {
		t.Error("the digest is made of what is sensitive")
	}
	altered := map[string]func(*tfjson.Plan){
		"value": func(p *tfjson.Plan) {
			changeOf(p, "module.m.terraform_data.inner").After.(map[string]any)["input"] = "cx11"
		},
		"address": func(p *tfjson.Plan) { resource(p, "terraform_data.secret").Address += "2" },
		"action":  func(p *tfjson.Plan) { changeOf(p, "module.m.terraform_data.inner").Actions = tfjson.Actions{"delete"} },
		"output":  func(p *tfjson.Plan) { p.OutputChanges["size"].After = "cx11" },
		"unknown": func(p *tfjson.Plan) { p.OutputChanges["size"].AfterUnknown = true },
		"one less": func(p *tfjson.Plan) {
			p.ResourceChanges = slices.DeleteFunc(p.ResourceChanges, func(rc *tfjson.ResourceChange) bool { return rc.Address == "terraform_data.secret" })
		},
	}
	for name, alter := range altered {
		p := load(t, "update")
		alter(p)
		if d.digest(read(p, nil), false) == base {
			t.Errorf("%s alters nothing", name)
		}
	}
	if d.digest(read(load(t, "update"), nil), true) == base || (&directory{shown: "y"}).digest(read(load(t, "update"), nil), false) == base {
		t.Error("the digest does not say what it is of")
	}
}

func changeOf(p *tfjson.Plan, address string) *tfjson.Change { return resource(p, address).Change }

func resource(p *tfjson.Plan, address string) *tfjson.ResourceChange {
	i := slices.IndexFunc(p.ResourceChanges, func(rc *tfjson.ResourceChange) bool { return rc.Address == address })
	return p.ResourceChanges[i]
}

// TestOutputsBeforeTheApply: what is known is real, what is not names the
// resource that it comes from, through modules too, and as much of a value is
// known as there is.
func TestOutputsBeforeTheApply(t *testing.T) {
	d := &directory{name: "x"}
	values, secrets := d.foreseen(read(load(t, "create"), nil), "terraform.apply", syntax.MakePosition(new("p.star"), 3, 1))
	for name, want := range map[string]string{
		"id":   "(known after terraform.apply of terraform_data.server[0], p.star:3)",
		"mod":  "(known after terraform.apply of module.m.terraform_data.inner, p.star:3)",
		"all":  `{"id": (known after terraform.apply of terraform_data.server[0], p.star:3), "size": "cx22"}`,
		"size": `"cx22"`,
		"big":  "12345678901234567890",
		"f":    "1.5",
		"key":  "‹secret x output key›",
	} {
		if v, _, _ := values.Get(starlark.String(name)); v == nil || v.String() != want {
			t.Errorf("%s: got %v, want %s", name, v, want)
		}
	}
	same(t, "secrets", secrets, "key")
	p := load(t, "create")
	p.OutputChanges["key"].AfterUnknown, p.OutputChanges["key"].After = true, nil
	values, _ = d.foreseen(read(p, nil), "terraform.apply", syntax.Position{})
	v, _, _ := values.Get(starlark.String("key"))
	if u, ok := v.(runtime.Unknown); !ok || u.Shape != runtime.SecretShape {
		t.Errorf("a secret that is not known is %v", v)
	}
}

func TestProtect(t *testing.T) {
	for _, c := range []struct {
		pattern, address string
		want             bool
	}{
		{"hcloud_volume.*", "hcloud_volume.data", true},
		{"hcloud_volume.*", `module.a["x.y"].module.b.hcloud_volume.data[0]`, true},
		{"hcloud_volume.*", "hcloud_server.data", false},
		{"module.a.hcloud_volume.*", `module.a["x"].hcloud_volume.data`, true},
		{"module.a.hcloud_volume.*", "hcloud_volume.data", false},
		{"module.b.*", "module.a.hcloud_volume.data", false},
		{`hcloud_server.web["a/b"]`, `hcloud_server.web["a/b"]`, true},
		{`hcloud_server.web["a/b"]`, `hcloud_server.web["c"]`, false},
		{"hcloud_server.*", `hcloud_server.web["a/b"]`, true},
		{"hcloud_server.web", "hcloud_server.web[3]", true},
		{"*", `module.a.hcloud_server.web["a/b"]`, true},
		{"hcloud_server.we?", "hcloud_server.web", true},
		{"hcloud_server.w[ab]b", "hcloud_server.wab", true},
	} {
		if got := matches([]string{c.pattern}, c.address); got != c.want {
			t.Errorf("%s on %s: %v", c.pattern, c.address, got)
		}
	}
	if checkPatterns([]string{"a["}) == nil || checkPatterns([]string{""}) == nil || checkPatterns([]string{`a.b["c"]`, "x.*"}) != nil {
		t.Error("patterns are not checked")
	}
	d := &directory{shown: "x", protect: []string{"terraform_data.server"}}
	for name, wants := range map[string]bool{"replace": true, "delete": true, "destroy": true, "tainted": true, "update": false, "create": false} {
		p := read(load(t, name), nil)
		err := d.guard(planRecord{deletes: p.list(remove), replaces: p.list(replace)})
		if (err != nil) != wants {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPartsOfAPlan are those that no provider here makes.
func TestPartsOfAPlan(t *testing.T) {
	for name, c := range map[string]struct{ rc, want string }{
		"future":    {`{"address":"a.b","mode":"managed","change":{"actions":["forget","delete"]}}`, "delete"},
		"forget":    {`{"address":"a.b","mode":"managed","change":{"actions":["forget"]}}`, "forget"},
		"import":    {`{"address":"a.b","mode":"managed","change":{"actions":["no-op"],"importing":{"id":"7"}}}`, "import"},
		"move":      {`{"address":"a.b","previous_address":"a.c","mode":"managed","change":{"actions":["no-op"]}}`, "move"},
		"read":      {`{"address":"data.a.b","mode":"data","change":{"actions":["read"]}}`, ""},
		"odd":       {`{"address":"a.b","mode":"managed","change":{"actions":["explode"]}}`, "update"},
		"no change": {`{"address":"a.b","mode":"managed"}`, ""},
		"before":    {`{"address":"a.b","mode":"managed","change":{"actions":["create","delete"]}}`, "replace"},
	} {
		p, err := parse([]byte(`{"format_version":"1.2","complete":false,"resource_changes":[null,` + c.rc + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		got := read(p, nil)
		action := ""
		if len(got.Changes) > 0 {
			action = got.Changes[0].Action
		}
		if action != c.want || !got.Partial || got.changed() != (c.want != "") {
			t.Errorf("%s: %q, %+v", name, action, got)
		}
		if p.Complete = nil; read(p, nil).Partial {
			t.Errorf("%s: OpenTofu, which never says whether a plan is complete, makes none", name)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"create", "update", "replace", "destroy", "tofu"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"format_version":"1.2","output_changes":{"a":null,"b":{"after":[1],"after_unknown":[false,true,{"c":true}]}},"configuration":{"root_module":{"outputs":{"b":{"expression":{"references":["module.","module.a","module.a.b","data.x","x."]}}},"module_calls":{"a":null}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parse(data)
		if err != nil {
			return
		}
		d := &directory{name: "x", shown: "x", costs: paid}
		got := read(p, []string{"hello"})
		text := d.detail(got) + d.digest(got, false)
		values, _ := d.foreseen(got, "terraform.apply", syntax.Position{})
		before, secrets := d.known(got)
		if _, _, err := recordOf(d.record(got, false, "0", before, secrets)); err != nil {
			t.Error(err)
		}
		if text == "" || values.String() == "" {
			t.Error("it is not shown")
		}
	})
}
