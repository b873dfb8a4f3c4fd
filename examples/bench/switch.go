package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"infra/examples/lab/fleet"
)

// switchRatio is how many times as long as by hand a build, a copy and a switch may
// take with infra.
const switchRatio = 1.05

// switchRuns is how many pairs are measured.
const switchRuns = 7

// switchFlake is a system of 300 MB in 30 paths, all of which a generation replaces.
// Its activation takes two seconds and its boot entry half a second: a small server's.
// A dry activation, which only a preview needs, takes a second.
const switchFlake = `{
  outputs = { self }:
    let
      generation = toString (import ./generation.nix);
      shell = name: script: derivation {
        inherit name generation;
        system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-euc" script ]; PATH = "/usr/bin:/bin";
      };
      payload = builtins.genList (n: shell "payload-${toString n}" "head -c 10000000 /dev/urandom >$out") 30;
    in {
      system = derivation {
        name = "nixos-system-bench-${generation}";
        system = "x86_64-linux"; builder = "/bin/sh"; PATH = "/usr/bin:/bin";
        inherit payload;
        switch = ''
          #!/bin/sh
          set -e
          case $1 in
            dry-activate) sleep 1; echo "would restart the following units: bench.service" >&2 ;;
            test) systemctl daemon-reload; sleep 2; ln -sfn "$(dirname "$(dirname "$0")")" /run/current-system ;;
            boot) sleep 0.5; mkdir -p /boot/loader/entries; echo "$0" >/boot/loader/entries/nixos.conf ;;
            *) exit 1 ;;
          esac
        '';
        passAsFile = [ "switch" ];
        args = [ "-euc" ''
          mkdir -p $out/bin
          echo $payload >$out/payload
          cp $switchPath $out/bin/switch-to-configuration
          chmod +x $out/bin/switch-to-configuration
        '' ];
      };
    };
}
`

const switchPlan = `
vps = host("cinnabar", system = "x86_64-linux")
def deploy(): nix.switch(vps, nix.build("%s#system"))
p = plan(hosts = [vps], steps = [step(deploy)])
`

// switchByHand is what a careful person types for the same, in as few connections as can be.
const switchByHand = `set -e
nix build --no-write-lock-file -o result "$1#system"
path=$(readlink -f result)
rm result
NIX_SSHOPTS="-F $2" nix copy --no-check-sigs --to ssh-ng://cinnabar "$path"
ssh -F "$2" cinnabar "systemd-run -E NIXOS_INSTALL_BOOTLOADER --collect --no-ask-password --pipe --wait --quiet --service-type=exec \
  --unit=nixos-rebuild-switch-to-configuration $path/bin/switch-to-configuration test &&
nix-env -p /nix/var/nix/profiles/system --set $path && $path/bin/switch-to-configuration boot"
`

// A switchBench is a host with a systemd, and the flake of its systems.
type switchBench struct {
	*fleet.Fleet
	infra, dir string
	generation int
}

// benchSwitch measures a build, a copy and a switch beside the same by hand, in turn:
// each to a system that is not built yet.
func benchSwitch(ctx context.Context, out io.Writer, dir string) (err error) {
	b := &switchBench{infra: filepath.Join(dir, "infra"), dir: filepath.Join(dir, "switch")}
	if b.Fleet, err = fleet.Up(ctx, fleet.Options{State: filepath.Join(dir, "lab"), Net: fleet.RandomNet(),
		Hosts: []string{"cinnabar"}, Systemd: []string{"cinnabar"}}); err != nil {
		return err
	}
	defer func() {
		if failed := b.Down(); err == nil {
			err = failed
		}
	}()
	if _, err := b.Exec("cinnabar", "mount", "-o", "remount,size=2g", "/nix"); err != nil {
		return err
	}
	flake := filepath.Join(b.dir, "flake")
	if err := os.MkdirAll(flake, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"infra.toml": "", "flake/flake.nix": switchFlake, "p.star": fmt.Sprintf(switchPlan, flake)} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	byHand := []string{"sh", "-c", switchByHand, "sh", flake, b.SSHConfig()}
	byInfra := []string{b.infra, "run", "--ssh-config", b.SSHConfig(), "p.star"}
	return b.compare(ctx, out, byInfra, byHand)
}

func (b *switchBench) compare(ctx context.Context, out io.Writer, byInfra, byHand []string) error {
	var ours, hand []figure
	var ratios []float64
	for i := range switchRuns + 1 {
		h, err := b.measure(ctx, byHand)
		if err != nil {
			return err
		}
		o, err := b.measure(ctx, byInfra)
		if err != nil {
			return err
		}
		if i > 0 { // the first is a warm-up
			hand, ours = append(hand, h), append(ours, o)
			ratios = append(ratios, float64(o.wall)/float64(h.wall))
		}
	}
	slices.Sort(ratios)
	ratio := ratios[len(ratios)/2]
	fmt.Fprint(out, "\n| build, copy and switch to a system of 300 MB, whose activation takes 2.5 s | wall | cpu | memory |\n|---|---|---|---|\n")
	fmt.Fprintf(out, "| infra run | %s |\n| by hand: nix build, nix copy, ssh | %s |\n\n", median(ours), median(hand))
	fmt.Fprintf(out, "infra, with its watchdog and the confirmation, takes %.3f times as long (median of %d pairs, from %.3f to %.3f)\n",
		ratio, len(ratios), ratios[0], ratios[len(ratios)-1])
	if ratio > switchRatio {
		return fmt.Errorf("a switch took %.3f times as long as by hand, and should stay under %.2f", ratio, switchRatio)
	}
	return nil
}

// measure measures a command that switches to a new system, and takes away what is
// not needed of it any more.
func (b *switchBench) measure(ctx context.Context, argv []string) (figure, error) {
	b.generation++
	if err := os.WriteFile(filepath.Join(b.dir, "flake", "generation.nix"), fmt.Appendf(nil, "%d\n", b.generation), 0o644); err != nil {
		return figure{}, err
	}
	f, err := measure(ctx, b.dir, append(append([]string{"env"}, b.Env()...), argv...))
	if err != nil {
		return f, err
	}
	said, err := b.Exec("cinnabar", "sh", "-c", "readlink -f /nix/var/nix/profiles/system; nix-env -p /nix/var/nix/profiles/system --delete-generations old; rm -rf /nix/var/nix/gcroots/infra; nix-store --gc >/dev/null")
	system, _, _ := strings.Cut(said, "\n")
	if want := fmt.Sprintf("-nixos-system-bench-%d", b.generation); err == nil && !strings.HasSuffix(system, want) {
		err = fmt.Errorf("the host has %q, not %s", system, want)
	}
	if err != nil {
		return f, err
	}
	remove := exec.CommandContext(ctx, "sh", "-c", `nix-store --delete $(nix-store --query --requisites "$1")`, "sh", system)
	remove.Env = append(os.Environ(), b.Env()...)
	if out, err := remove.CombinedOutput(); err != nil {
		return f, fmt.Errorf("remove %s: %w\n%s", system, err, out)
	}
	return f, nil
}
