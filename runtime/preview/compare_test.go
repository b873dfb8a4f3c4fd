package preview

import (
	"slices"
	"strings"
	"testing"
)

// What differs is shown below the line that it belongs to, and nothing else.
func TestApart(t *testing.T) {
	servers := func(address string, more ...string) []string {
		return append([]string{"+ server.a: is created", "    image = 1", "+ server.b: is created", "    address = " + address, "    image = 2"}, more...)
	}
	for _, tt := range []struct{ a, b, left, right []string }{
		{servers("1"), servers("2"), []string{"+ server.b: is created", "    address = 1"}, []string{"+ server.b: is created", "    address = 2"}},
		{servers("1"), servers("1", "    name = b"), []string{"+ server.b: is created"}, []string{"+ server.b: is created", "    name = b"}},
		{servers("1"), append([]string{"- server.0"}, servers("1")...), nil, []string{"- server.0"}},
		{nil, []string{"x"}, nil, []string{"x"}},
		{[]string{"x"}, []string{"x"}, nil, nil},
	} {
		if left, right := apart(tt.a, tt.b); !slices.Equal(left, tt.left) || !slices.Equal(right, tt.right) {
			t.Errorf("%q and %q: got %q and %q", tt.a, tt.b, left, right)
		}
	}
}

func TestCompareNamesEveryDifference(t *testing.T) {
	put := func(d *Document) *Operation { return &d.Steps[1].Operations[0] }
	for _, tt := range []struct {
		name string
		edit func(*Document)
		want []string
	}{
		{"nothing", func(d *Document) {}, nil},
		{"only the time", func(d *Document) { d.Made = d.Made.AddDate(1, 0, 0) }, nil},
		{"only a line's number", func(d *Document) { put(d).Pos = "plans/motd.star:99:5" }, nil},
		{"infra", func(d *Document) { d.Infra = "1.3" }, []string{"infra is 1.3, the preview was made by 1.2"}},
		{"the plan's name", func(d *Document) { d.Plan = "other" }, []string{"the plan is other in plans/motd.star, the preview is of motd in plans/motd.star"}},
		{"a source", func(d *Document) { d.Sources[1].SHA256 = "23" }, []string{"plans/motd.star was edited since"}},
		{"sources", func(d *Document) { d.Sources[0].Path = "plans/new.star" },
			[]string{"plans/lib.star is no longer loaded", "plans/new.star is loaded now, and was not"}},
		{"a file", func(d *Document) { d.Files[0].SHA256 = "34" }, []string{"secrets/x.yaml was edited since"}},
		{"no file", func(d *Document) { d.Files = nil }, []string{"secrets/x.yaml is not read now, or is gone"}},
		{"the lock", func(d *Document) { d.Flake.Lock = "45" }, []string{"the flake's lock changed since: its inputs are others"}},
		{"the flake", func(d *Document) { d.Flake.NarHash = "sha256-B" }, []string{"the flake's files changed since: their narHash is sha256-B, the preview saw sha256-A"}},
		{"no flake", func(d *Document) { d.Flake = nil }, []string{"there is no flake any more, or no nix to read it"}},
		{"a tool", func(d *Document) { d.Tools[0].Version = "nix 2.19" }, []string{"nix is nix 2.19, the preview saw nix 2.18"}},
		{"no tool", func(d *Document) { d.Tools = nil }, []string{"nix is none, the preview saw nix 2.18"}},
		{"a boot", func(d *Document) { d.Hosts[0].BootID = "boot-2" }, []string{"mac was rebooted since: its boot id is boot-2, the preview saw boot-1"}},
		{"a system", func(d *Document) { d.Hosts[0].System = "/nix/store/y" }, []string{"mac runs /nix/store/y, the preview saw /nix/store/x"}},
		{"no system", func(d *Document) { d.Hosts[0].System = "" }, []string{"mac runs no system of nix, the preview saw /nix/store/x"}},
		{"a generation", func(d *Document) { d.Hosts[0].Generation = 43 }, []string{"mac: the generation is 43, the preview saw 42"}},
		{"a profile", func(d *Document) { d.Hosts[0].Profile = "/nix/store/y" }, []string{"mac: the system profile is /nix/store/y, the preview saw /nix/store/x"}},
		{"a host away", func(d *Document) { d.Hosts[0] = Host{Name: "mac", Unreachable: true} }, []string{"mac cannot be reached now, the preview could"}},
		{"another host", func(d *Document) { d.Hosts = append(d.Hosts, Host{Name: "new"}) }, []string{"new is a host of the plan now, and was not"}},
		{"no host", func(d *Document) { d.Hosts = nil }, []string{"mac is no host of the plan any more"}},
		{"a new step", func(d *Document) { d.Steps = append(d.Steps, Step{Name: "more", Status: "ok"}) }, []string{"step more is not in the preview"}},
		{"a step less", func(d *Document) { d.Steps = d.Steps[1:] }, []string{"step build is no step of the plan any more"}},
		{"a step that stops", func(d *Document) { d.Steps[0].Status, d.Steps[0].Why = "stopped", "not known" },
			[]string{"step build: the preview ended as ok, now it ends as stopped (not known)"}},
		{"a doubt", func(d *Document) { d.Steps[0].Doubts = []string{"first?"} }, []string{`step build: which step comes first was doubted as [], now as ["first?"]`}},
		{"a new operation", func(d *Document) {
			d.Steps[1].Operations = slices.Insert(d.Steps[1].Operations, 1, Operation{Name: "ssh.run", Host: "mac", Show: "rm -rf /", Pos: "plans/motd.star:9:1"})
		}, []string{"step put on mac: not in the preview: ssh.run rm -rf / on mac (plans/motd.star:9:1)"}},
		{"a new last operation", func(d *Document) {
			d.Steps[0].Operations = append(d.Steps[0].Operations, Operation{Name: "local.run", Show: "id", Pos: "plans/motd.star:9:1"})
		}, []string{"step build: not in the preview: local.run id (plans/motd.star:9:1)"}},
		{"an operation less", func(d *Document) { d.Steps[1].Operations = d.Steps[1].Operations[1:] },
			[]string{"step put on mac: no longer done: ssh.put /etc/motd on mac"}},
		{"another order", func(d *Document) { slices.Reverse(d.Steps[1].Operations) },
			[]string{"step put on mac: not in the preview: ssh.run echo ? on mac (plans/motd.star:6:5)", "step put on mac: no longer done: ssh.run echo ? on mac"}},
		{"other words", func(d *Document) { put(d).Show, put(d).Args = "/etc/issue", Args{"path": "/etc/issue"} },
			[]string{"step put on mac: the preview was: ssh.put /etc/motd on mac; now: ssh.put /etc/issue on mac"}},
		{"other arguments", func(d *Document) { put(d).Args["content"] = "c" },
			[]string{`step put on mac: ssh.put /etc/motd on mac: the arguments were {"content":"a < b\n","path":"/etc/motd"}, now they are {"content":"c","path":"/etc/motd"}`}},
		{"another effect", func(d *Document) { put(d).Effect = "destroy" },
			[]string{"step put on mac: the preview was: a change: ssh.put /etc/motd on mac; now: a destroy"}},
		{"another verdict", func(d *Document) { put(d).Verdict, put(d).Detail = "no change", nil },
			[]string{"step put on mac: ssh.put /etc/motd on mac: the preview was: change, -a; now: no change"}},
		{"another detail", func(d *Document) { put(d).Detail = []string{"-c", "+b"} },
			[]string{"step put on mac: ssh.put /etc/motd on mac: the preview was:\n  -a\nnow:\n  -c"}},
		{"other arguments, of which the detail tells", func(d *Document) { put(d).Args["content"], put(d).Detail = "c", []string{"-a", "+d"} },
			[]string{"step put on mac: ssh.put /etc/motd on mac: the preview was:\n  +b\nnow:\n  +d"}},
		{"another look", func(d *Document) { put(d).Show = "the motd" },
			[]string{"step put on mac: ssh.put /etc/motd on mac: it was shown as: /etc/motd; now: the motd"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := example(t)
			tt.edit(now)
			if got := Compare(example(t), reread(t, now)); !slices.Equal(got, tt.want) {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tt.want, "\n     "))
			}
		})
	}
}

func TestALongDetailIsCutShort(t *testing.T) {
	was, now := example(t), example(t)
	now.Steps[1].Operations[0].Detail = slices.Repeat([]string{"+x"}, 500)
	got := Compare(was, now)
	if len(got) != 1 || strings.Count(got[0], "+x") != most || !strings.HasSuffix(got[0], "… 480 lines more") {
		t.Errorf("got %q", got)
	}
}

// TestWhatIsLeftOutIsNotTakenForChanged: the next operation of the same name
// is another one.
func TestWhatIsLeftOutIsNotTakenForChanged(t *testing.T) {
	was, now := example(t), example(t)
	put := was.Steps[1].Operations[0]
	put.Show, put.Args = "/etc/issue", Args{"path": "/etc/issue"}
	was.Steps[1].Operations = slices.Insert(was.Steps[1].Operations, 0, put)
	want := []string{"step put on mac: no longer done: ssh.put /etc/issue on mac"}
	if got := Compare(was, now); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
