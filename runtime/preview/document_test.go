package preview

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"infra/runtime"
)

// example is a document as Parse returns it.
func example(t testing.TB) *Document {
	t.Helper()
	d := &Document{
		Schema: Schema, Made: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Infra: "1.2", Plan: "motd", File: "plans/motd.star",
		Steps: []Step{
			{Name: "build", Status: "ok", Operations: []Operation{{Name: "nix.build", Effect: "build", Verdict: "change", Show: ".#x", Args: Args{"installable": ".#x"}, Pos: "plans/motd.star:3:5"}}},
			{Name: "put", Host: "mac", Status: "ok", Operations: []Operation{
				{Name: "ssh.put", Host: "mac", Effect: "change", Verdict: "change", Show: "/etc/motd", Args: Args{"path": "/etc/motd", "content": "a < b\n"}, Detail: []string{"-a", "+b"}, Pos: "plans/motd.star:5:5"},
				{Name: "ssh.run", Host: "mac", Effect: "change", Verdict: "unknown", Show: "echo ?", Args: Args{"command": []any{"echo", "(known after ssh.run, a.star:1)"}}, Needs: "(known after ssh.run, a.star:1)", Pos: "plans/motd.star:6:5"},
			}},
		},
		Sources: []runtime.Source{{Path: "plans/lib.star", SHA256: "11"}, {Path: "plans/motd.star", SHA256: "22"}},
		Files:   []runtime.Source{{Path: "secrets/x.yaml", SHA256: "33"}},
		Facts: Facts{
			Flake: &Flake{NarHash: "sha256-A", Lock: "44"},
			Tools: []Tool{{"nix", "nix 2.18"}},
			Hosts: []Host{{Name: "mac", System: "/nix/store/x", Profile: "/nix/store/x", Generation: 42, BootID: "boot-1"}},
		},
	}
	return reread(t, d)
}

func reread(t testing.TB, d *Document) *Document {
	t.Helper()
	data, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func TestADocumentIsReadAsItWasWritten(t *testing.T) {
	d := example(t)
	path := filepath.Join(t.TempDir(), "preview.json")
	if err := os.WriteFile(path, []byte("an old one"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(path); err != nil {
		t.Fatal(err)
	}
	back, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if found := Compare(d, back); len(found) > 0 || !back.Made.Equal(d.Made) {
		t.Errorf("it differs: %q, made %s", found, back.Made)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v", info.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".infra*")); len(left) > 0 {
		t.Errorf("it left %q", left)
	}
	data, _ := os.ReadFile(path)
	if !bytes.Contains(data, []byte(`"a < b\n"`)) {
		t.Errorf("a reader cannot read it:\n%s", data)
	}
}

func TestTheDigestIsNotOfTheTime(t *testing.T) {
	a, b := example(t), example(t)
	b.Made = b.Made.Add(time.Hour)
	if b = reread(t, b); a.Digest != b.Digest {
		t.Errorf("%s and %s", a.Digest, b.Digest)
	}
}

func TestParseRefusesWhatInfraDidNotWrite(t *testing.T) {
	good, err := example(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	// signed is the document after an edit by someone who knows the digest.
	signed := func(edit func(*Document)) string {
		d := example(t)
		edit(d)
		data, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for name, tt := range map[string]struct{ text, says string }{
		"nothing":             {"", "unexpected end of JSON input"},
		"cut":                 {string(good[:len(good)/2]), "unexpected end of JSON input"},
		"no JSON":             {"a preview", "it is damaged, or was edited: invalid character"},
		"no preview":          {"{}", "it is no saved preview: it names no schema"},
		"newer":               {`{"schema": 2, "steps": "a story"}`, "a newer infra made it: its schema is 2, and this infra knows 1"},
		"one letter":          {strings.Replace(string(good), "/etc/motd", "/etc/mote", 1), "its digest is that of another content"},
		"another layout":      {strings.Replace(string(good), "\n  ", "\n ", 1), "it is not written as infra writes it"},
		"said twice":          {strings.Replace(string(good), `"plan": "motd"`, `"plan": "harmless",`+"\n  "+`"plan": "motd"`, 1), "it is not written as infra writes it"},
		"an argument twice":   {strings.Replace(string(good), `"installable": ".#x"`, `"installable": ".#safe", "installable": ".#x"`, 1), "it is not written as infra writes it"},
		"an unknown field":    {strings.Replace(string(good), `"plan": "motd"`, `"plan": "motd", "note": "fine"`, 1), "unknown field"},
		"more behind it":      {string(good) + "{}", "invalid character"},
		"a file elsewhere":    {signed(func(d *Document) { d.File = "../../other.star" }), "is no plan file of a project"},
		"no plan file":        {signed(func(d *Document) { d.File = "plans/motd.txt" }), "is no plan file of a project"},
		"the same step twice": {signed(func(d *Document) { d.Steps = append(d.Steps, d.Steps[1]) }), "step put on mac is there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.says) || runtime.HintOf(err) == "" {
				t.Errorf("got %v, hint %q", err, runtime.HintOf(err))
			}
		})
	}
}

func TestUnfit(t *testing.T) {
	d := example(t)
	if why := d.Unfit(); len(why) > 0 {
		t.Errorf("got %q", why)
	}
	d.Steps[0].Status, d.Steps[0].Why = "stopped", "the condition of an if is not known"
	d.Steps[1].Doubts = []string{"which comes first is not fixed"}
	want := []string{"step build was not previewed to its end (stopped): the condition of an if is not known", "step put on mac: which comes first is not fixed"}
	if got := d.Unfit(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// FuzzParse: a file can hold anything. What is taken is what Encode writes,
// and can be compared.
func FuzzParse(f *testing.F) {
	good, err := example(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"schema": 1}`))
	f.Add([]byte(`{"schema": 1, "steps": [{"operations": [{"args": {"a": 1e999}}]}]}`))
	f.Add(bytes.Replace(good, []byte("motd"), []byte(`\ud800`), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse(data)
		if err != nil {
			// Sign what can be read, so that what lies behind the digest is met too.
			if d = new(Document); json.Unmarshal(data, d) != nil {
				return
			}
			if data, err = d.Encode(); err != nil {
				t.Fatalf("%q was read and cannot be written: %v", data, err)
			}
			if d, err = Parse(data); err != nil {
				return
			}
		}
		again, err := d.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q became %q: %v", data, again, err)
		}
		if found := Compare(d, d); len(found) > 0 {
			t.Errorf("it is not the same as itself: %q", found)
		}
		d.Unfit()
		for _, s := range d.Steps {
			for _, o := range s.Operations {
				o.Allows(runtime.Op{Name: o.Name, Host: o.Host})
			}
		}
	})
}
