package clan

import (
	"strings"
	"testing"

	"infra/runtime"
)

func TestHostState(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"a system that lives", `name cinnabar
system /nix/store/x-nixos-system-cinnabar-25.11.1
os NixOS 25.11 (Xantusia)
disks
{"blockdevices": [
 {"name":"vda","type":"disk","size":"40G","fstype":null,"label":null,"mountpoint":null,"model":"QEMU HARDDISK","children":[
   {"name":"vda1","type":"part","size":"1G","fstype":"vfat","label":"BOOT","mountpoint":"/boot","model":null},
   {"name":"vda2","type":"part","size":"39G","fstype":"ext4","label":"nixos","mountpoint":"/","model":null}]},
 {"name":"loop0","type":"loop","size":"1G","fstype":null,"label":null,"mountpoint":null,"model":null},
 {"name":"sr0","type":"rom","size":"1024M","fstype":null,"label":null,"mountpoint":null,"model":null}]}
`, `it is a system that lives: NixOS 25.11 (Xantusia) /nix/store/x-nixos-system-cinnabar-25.11.1, which calls itself cinnabar
its disks, which will be erased, are now:
  vda 40G QEMU HARDDISK
    vda1 1G vfat BOOT /boot
    vda2 39G ext4 nixos /`},
		{"an installer", "name nixos\nsystem /nix/store/y-nixos-system-installer\nos NixOS\ninstaller\ndisks\n{\"blockdevices\": [{\"name\":\"sda\",\"type\":\"disk\",\"size\":\"8G\"}]}",
			"it is an installer: NixOS /nix/store/y-nixos-system-installer, which calls itself nixos\nits disks, which will be erased, are now:\n  sda 8G"},
		{"no lsblk, no nix", "name debian\nsystem \nos Debian GNU/Linux 12\ndisks\n",
			"it is a system that lives: Debian GNU/Linux 12, which calls itself debian\nits disks cannot be listed; they will be erased"},
		{"nothing", "", "it is a system that lives: , which calls itself \nits disks cannot be listed; they will be erased"},
	} {
		if got := parseHost(tt.text).String(); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func FuzzHostState(f *testing.F) {
	f.Add("name a\ninstaller\ndisks\n{\"blockdevices\":[{\"name\":\"a\",\"children\":[{}]}]}")
	f.Fuzz(func(_ *testing.T, text string) { _ = parseHost(text).String() })
}

// TestMacsAreRefused: clan does not install them, and with a build host would
// switch that instead.
func TestMacsAreRefused(t *testing.T) {
	d := newDriven(t)
	for _, tt := range []struct{ code, want string }{
		{`clan.install(mac)`, "blackphos is a Mac, and clan installs no Macs; its buildHost root@builder in the inventory is refused too"},
		{`clan.hardware_config(mac)`, "blackphos is a Mac, and clan describes the hardware of no Macs"},
		{`clan.install(other)`, "the clan has no machine blackfos"},
		{`clan.install(vps)`, "vars of cinnabar are missing or stale: ca, cert, notes, ssh-key, user"},
		{`clan.install(vps, target = "a b")`, `target: the targetHost "a b" cannot be reached`},
	} {
		for _, dry := range []bool{true, false} {
			_, _, err := d.run(dry, names(), tt.code)
			if err == nil || !strings.Contains(err.Error(), tt.want) || runtime.HintOf(err) == "" {
				t.Errorf("%s (dry: %v): %v (%s), want %q", tt.code, dry, err, runtime.HintOf(err), tt.want)
			}
		}
	}
}
