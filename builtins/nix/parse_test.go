package nix

import (
	"strings"
	"testing"
	"time"

	"infra/runtime"
)

const drv, out = "/nix/store/lix5zk7zkpmc7qc3914f34bw0xdg8vi8-hello-1.0.drv", "/nix/store/sah954lsnh8wip45wwzwqxlgbxp855br-hello-1.0"

// TestParseBuilt holds the shapes of nix 2.8 to 2.34 and of Lix.
func TestParseBuilt(t *testing.T) {
	for _, tt := range []struct{ name, json, path, drv, err string }{
		{"2.8", `[{"drvPath":"` + drv + `","outputs":{"out":"` + out + `"}}]`, out, drv, ""},
		{"2.18", `[{"drvPath":"` + drv + `","outputs":{"out":"` + out + `"},"startTime":1,"stopTime":2,"cpuUser":0.1}]`, out, drv, ""},
		{"2.29 pretty", "[\n  {\n    \"drvPath\": \"" + drv + "\",\n    \"outputs\": {\"out\": \"" + out + "\"}\n  }\n]\n", out, drv, ""},
		{"several outputs", `[{"drvPath":"` + drv + `","outputs":{"bin":"` + out + `-bin","out":"` + out + `"}}]`, out, drv, ""},
		{"no out", `[{"drvPath":"` + drv + `","outputs":{"dev":"` + out + `-dev","bin":"` + out + `-bin"}}]`, out + "-bin", drv, ""},
		{"a path, 2.8", `[{"path":"` + out + `"}]`, out, "", ""},
		{"a path, later", `["` + out + `"]`, out, "", ""},
		{"content-addressed", `[{"drvPath":"` + drv + `","outputs":{"out":null}}]`, "", "", "not known before it is built"},
		{"several", `["` + out + `","` + out + `"]`, "", "", "names 2 things"},
		{"nothing", ``, "", "", "no JSON list"},
		{"null", `[null]`, "", "", "names neither"},
	} {
		p, err := parseBuilt(tt.json)
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case p.Path != tt.path || p.Drv != tt.drv:
			t.Errorf("%s: got %q from %q", tt.name, p.Path, p.Drv)
		}
	}
}

func store32(names ...string) []string {
	paths := make([]string, len(names))
	for i, n := range names {
		hash, name, tagged := strings.Cut(n, "!")
		if !tagged {
			hash, name = "0", n
		}
		paths[i] = "/nix/store/" + strings.Repeat(hash, 32) + "-" + name
	}
	return paths
}

func TestPackageVersion(t *testing.T) {
	for name, want := range map[string][2]string{
		"nixos-system-cinnabar-25.11.2": {"nixos-system-cinnabar", "25.11.2"},
		"hello-2.12-man":                {"hello", "2.12"},
		"openssl-3.0.13-bin":            {"openssl", "3.0.13"},
		"etc":                           {"etc", ""},
		"unit-sshd.service":             {"unit-sshd.service", ""},
		"gcc-13.2.0-lib":                {"gcc", "13.2.0"},
		"source-":                       {"source-", ""},
		"font-awesome-6":                {"font-awesome", "6"},
	} {
		n, v := packageVersion(store32(name)[0])
		if n != want[0] || v != want[1] {
			t.Errorf("%s is %q %q, want %q", name, n, v, want)
		}
	}
}

func TestPackageDiff(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after []string
		want          string
	}{
		{"equal", store32("a-1", "b-2"), store32("b-2", "a-1"), ""},
		{"version", store32("nixos-system-cinnabar-25.11.2"), store32("nixos-system-cinnabar-25.11.77"), "nixos-system-cinnabar: 25.11.2 -> 25.11.77"},
		{"added and removed", store32("a-1", "etc"), store32("a-1", "b-2", "units"), "b: added 2\netc: removed\nunits: added"},
		{"several versions", store32("ssl-1.1", "ssl-3.0"), store32("ssl-3.0", "ssl-3.1"), "ssl: 1.1, 3.0 -> 3.0, 3.1"},
		{"gets a version", store32("a"), store32("a-1"), "a: no version -> 1"},
		{"outputs are one package", store32("a-1", "a-1-man"), store32("a-2", "a-2-man"), "a: 1 -> 2"},
		{"rebuilt", store32("1!a-1", "1!etc"), store32("2!a-1", "2!etc"), "2 paths rebuilt, of the same version"},
		{"from nothing", nil, store32("a-1"), "a: added 1"},
	} {
		if got := comparePackages(tt.before, tt.after).String(); got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

func TestParseGenerations(t *testing.T) {
	gs := parseGenerations("system-10-link\n1700000000 system-9-link " + out + "\n1700000060 system-10-link " + out + "2\nbroken line\n1 system-x-link y\n")
	if len(gs) != 2 {
		t.Fatalf("got %v", gs)
	}
	for i, want := range []string{
		`generation(number = 9, path = ` + out + `, current = False, date = "2023-11-14T22:13:20Z")`,
		`generation(number = 10, path = ` + out + `2, current = True, date = "2023-11-14T22:14:20Z")`,
	} {
		if got := gs[i].record().String(); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
	if gs := parseGenerations("none\n"); len(gs) != 0 {
		t.Errorf("a host without a profile has %v", gs)
	}
	if date := time.Unix(1700000000, 0).UTC(); !gs[0].date.Equal(date) {
		t.Errorf("date %v", gs[0].date)
	}
}

func TestParseState(t *testing.T) {
	s := parseState("current=" + out + "\nprofile=" + out + "\nlink=system-42-link\nheld=1\nprogram=activate\n")
	if !s.runs(out) || s.generation != 42 || !s.held {
		t.Errorf("got %+v", s)
	}
	if want := "it runs " + out + " now, and its profile leads to " + out + " (generation 42)"; s.String() != want {
		t.Errorf("got %q", s)
	}
	empty := parseState("current=\nprofile=\nlink=\n")
	if empty.runs(out) || empty.held || empty.String() != "it runs no system of nix now, and its profile leads to nowhere" {
		t.Errorf("got %+v: %s", empty, empty)
	}
}

func TestNotASystem(t *testing.T) {
	mac, vps := &runtime.Host{Name: "mac", System: "aarch64-darwin"}, &runtime.Host{Name: "vps", System: "x86_64-linux"}
	for _, tt := range []struct {
		host     *runtime.Host
		programs []string
		err      string
		hint     string
	}{
		{vps, []string{switchProgram, activateProgram}, "", ""},
		{mac, []string{activateProgram}, "", ""},
		{vps, []string{activateProgram}, out + " is not a NixOS system: it has no bin/switch-to-configuration", "build .#nixosConfigurations.vps.config.system.build.toplevel"},
		{mac, nil, out + " is not a nix-darwin system: it has no activate", "build .#darwinConfigurations.mac.system"},
	} {
		err := notASystem(out, tt.host, tt.programs)
		if tt.err == "" {
			if err != nil {
				t.Errorf("%s %v: %v", tt.host, tt.programs, err)
			}
			continue
		}
		if err == nil || err.Error() != tt.err || runtime.HintOf(err) != tt.hint {
			t.Errorf("%s %v: %v (%s)", tt.host, tt.programs, err, runtime.HintOf(err))
		}
	}
}

func TestGoBack(t *testing.T) {
	vps := &runtime.Host{Name: "vps", System: "x86_64-linux", SSH: "root@vps"}
	if got, want := goBack(vps, out), "ssh root@vps 'sudo nix-env -p /nix/var/nix/profiles/system --set "+out+" && sudo "+out+"/bin/switch-to-configuration switch'"; got != want {
		t.Errorf("got %s", got)
	}
	mac := &runtime.Host{Name: "mac", System: "aarch64-darwin"}
	if got, want := goBack(mac, out), "ssh mac 'sudo "+out+"/activate && sudo nix-env -p /nix/var/nix/profiles/system --set "+out+"'"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestSSHAddress(t *testing.T) {
	for ssh, want := range map[string][2]string{
		"":                         {"mac", ""},
		"alias":                    {"alias", ""},
		"admin@mac.local":          {"admin@mac.local", ""},
		"ssh://admin@mac:2222":     {"admin@mac", "2222"},
		"ssh://mac":                {"mac", ""},
		"ssh://admin@[fd00::1]:22": {"admin@[fd00::1]", "22"},
	} {
		address, port, err := sshAddress(&runtime.Host{Name: "mac", SSH: ssh})
		if err != nil || address != want[0] || port != want[1] {
			t.Errorf("%q: %q %q %v", ssh, address, port, err)
		}
	}
	if _, _, err := sshAddress(&runtime.Host{Name: "mac", SSH: "ssh://"}); err == nil {
		t.Error("ssh:// is an address")
	}
}

func TestSSHOptions(t *testing.T) {
	for _, tt := range []struct{ config, port, want string }{
		{"", "", "-o BatchMode=yes -o StrictHostKeyChecking=yes"},
		{"/home/u/.infra/ssh_config", "2222", "-F /home/u/.infra/ssh_config -o BatchMode=yes -o StrictHostKeyChecking=yes -p 2222"},
	} {
		if got, err := sshOptions(tt.config, tt.port); err != nil || got != tt.want {
			t.Errorf("got %q %v", got, err)
		}
	}
	for _, config := range []string{"/home/a user/config", "/home/it's", "/tmp/$HOME"} {
		if got, err := sshOptions(config, ""); err == nil || runtime.HintOf(err) == "" {
			t.Errorf("%q gives %q", config, got)
		}
	}
}

func TestResolve(t *testing.T) {
	m := module{flake: "/srv/flake"}
	for installable, want := range map[string]string{
		".":               "/srv/flake",
		".#hello":         "/srv/flake#hello",
		".^dev":           "/srv/flake^dev",
		".?dir=sub#hello": "/srv/flake?dir=sub#hello",
		"./sub#hello":     "./sub#hello",
		"nixpkgs#hello":   "nixpkgs#hello",
		out:               out,
	} {
		if got, err := m.resolve(installable); err != nil || got != want {
			t.Errorf("%q is %q %v, want %q", installable, got, err, want)
		}
	}
	for _, bad := range []string{"", "--impure", ".#a\nb"} {
		if got, err := m.resolve(bad); err == nil {
			t.Errorf("%q is %q", bad, got)
		}
	}
}

func TestSwitchFailure(t *testing.T) {
	for code, want := range map[int]string{1: "boot loader", 2: "activation script", 4: "units", 100: "reboot", 7: "switch-to-configuration"} {
		if got := switchFailure(code); !strings.Contains(got, want) {
			t.Errorf("%d: %q", code, got)
		}
	}
}

func TestHuman(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 3 << 40: "3.0 TiB", 3 << 50: "3072.0 TiB"} {
		if got := human(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestAddressOptions(t *testing.T) {
	for ssh, want := range map[string]string{
		"root@mac": "x", "mac": "x", "ssh://root@mac:22": "x",
		"ssh://root@mac?ProxyJump=a%40b&ConnectTimeout=7": "x -o ConnectTimeout=7 -o ProxyJump=a@b",
		"ssh://root@mac?ProxyCommand=nc%20x":              "",
	} {
		got, err := addressOptions("x", &runtime.Host{Name: "mac", SSH: ssh})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v", ssh, got, err)
		}
	}
}
