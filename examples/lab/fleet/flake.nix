{
  description = "Five hosts whose systems a shell builds: the layout of NixOS and nix-darwin without nixpkgs";

  inputs = { };

  outputs = { self }:
    let
      generation = import ./generation.nix;
      version = "25.11.${toString generation}";
      # The setup from before the clan. Nothing needs it any more.
      nixos-unified = import ./modules/darwin;

      # The server is the controller of the network that all hosts are in: the
      # network's name begins with the controller's address.
      network = "8056c2e21c000001";
      zerotierId = host: builtins.substring 0 10 (if host == "cinnabar" then network else builtins.hashString "sha256" host);
      fleet = [ "cinnabar" "blackphos" "rosegold" "argentum" "stibnite" ];

      # A derivation that /bin/sh builds with what the building machine has.
      shell = system: name: files: script: derivation (files // {
        inherit name system;
        builder = "/bin/sh";
        args = [ "-euc" script ];
        PATH = "/usr/bin:/bin";
        preferLocalBuild = true;
        allowSubstitutes = false;
      });

      # The files of /etc, as NixOS and nix-darwin build them: one package.
      etc = system: host: service: shell system "etc" {
        inherit service;
        motd = "Welcome to ${host}, generation ${toString generation}.\n";
        passAsFile = [ "motd" "service" ];
      } ''
        mkdir -p $out/etc/infra-lab
        cp $motdPath $out/etc/motd
        echo ${host} > $out/etc/infra-lab/host
        echo ${version} > $out/etc/infra-lab/version
        ${if system == "x86_64-linux" then ''
          mkdir -p $out/etc/systemd/system
          cp $servicePath $out/etc/systemd/system/zerotierone.service
        '' else ""}
      '';

      # Links the system's /etc into the host's and drops the links of a system before it.
      linkEtc = ''
        echo "setting up /etc..." >&2
        ln -sfn "$(readlink -f "$system/etc")" /etc/static
        find "$system/etc/" -type f -printf '%P\n' | while read -r file; do
          mkdir -p "/etc/$(dirname "$file")"
          ln -sfn "/etc/static/$file" "/etc/$file"
        done
        find /etc -xdev -type l -lname '/etc/static/*' | while read -r link; do
          [ -e "$link" ] || rm "$link"
        done
      '';

      # What changing a host begins with. A file /etc/lab-fault on it makes that go wrong.
      begin = action: ''
        if [ "$(id -u)" != 0 ]; then
          echo "$0: system activation must be run as root" >&2
          exit 1
        fi
        mkdir -p /var/log
        echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) ${action} $system" >> /var/log/activations
        if [ -e /etc/lab-fault ]; then . /etc/lab-fault; fi
      '';

      controller = ''
        listnetworks)
              echo "200 listnetworks <nwid> <name> <mac> <status> <type> <dev> <ZT assigned ips>"
              echo "200 listnetworks ${network} lab 2e:6c:60:c1:33:01 OK PRIVATE ztlab0 fd80:56c2:e21c::1/88" ;;
            -j)
              case "''${2:-}" in
                info) echo '{"address":"${zerotierId "cinnabar"}","online":true,"version":"1.14.2"}' ;;
                listnetworks) echo '[{"id":"${network}","name":"lab","status":"OK","type":"PRIVATE","assignedAddresses":["fd80:56c2:e21c::1/88"]}]' ;;
                *) echo "usage: zerotier-cli -j info|listnetworks" >&2; exit 1 ;;
              esac ;;
            '';

      peer = host: ''
        -j)
              case "''${2:-}" in
                info) echo '{"address":"${zerotierId host}","online":true,"version":"1.14.2"}' ;;
                listnetworks) echo '[{"id":"${network}","name":"lab","status":"OK","type":"PRIVATE"}]' ;;
                *) echo "usage: zerotier-cli -j info|listnetworks" >&2; exit 1 ;;
              esac ;;
            '';

      # How the addresses end that zerotier makes of those of network and host, and the
      # last number of the host's address in the lab.
      meshed = builtins.concatStringsSep "\n" (builtins.genList (i:
        let id = zerotierId (builtins.elemAt fleet i); part = builtins.substring;
        in "fd*99:93${part 0 2 id}:${part 2 4 id}:${part 6 4 id}) to=${toString (i + 2)} ;;"
      ) (builtins.length fleet));

      # The programs of a system: sw/bin is on every login's PATH.
      programs = system: host: service: kind: shell system "system-path" {
        zerotier = ''
          #!/bin/sh
          if [ ! -e ${service} ]; then
            echo "zerotier-cli: zerotier-one is not running" >&2
            exit 1
          fi
          case "''${1:-}" in
            info | status) echo "200 info ${zerotierId host} 1.14.2 ONLINE" ;;
            ${if kind == "nixos" then controller else peer host}*) echo "usage: zerotier-cli info" >&2; exit 1 ;;
          esac
        '';
        rebuild = ''
          #!/bin/sh
          set -eu
          profile=/nix/var/nix/profiles/system
          case "''${1:-}" in
            --list-generations) exec nix-env -p $profile --list-generations ;;
            --rollback) nix-env -p $profile --rollback ;;
            activate) ;;
            *) echo "darwin-rebuild: unknown option '$*'" >&2; exit 1 ;;
          esac
          exec "$(cat $profile/systemConfig)/activate"
        '';
        nixosVersion = ''
          #!/bin/sh
          case "''${1:-}" in
            --json) echo '{"nixosVersion":"${version}"}' ;;
            *) echo "${version} (Stand-in)" ;;
          esac
        '';
        # The mesh is this machine's loopback: a host is in it that answers there.
        ping6 = ''
          #!/bin/sh
          for to; do :; done
          case "$to" in
          ${meshed}
          *) to= ;;
          esac
          if [ ! "$to" ] || [ ! -e ${service} ]; then
            echo "ping6: UDP connect: No route to host" >&2
            exit 2
          fi
          net=$(sed -n 's/^ListenAddress \(.*\)\..*/\1/p' /etc/ssh/sshd_config)
          if timeout 3 bash -c "exec 3<>/dev/tcp/$net.$to/2222" 2>/dev/null; then
            echo "1 packets transmitted, 1 packets received, 0.0% packet loss"
          else
            echo "1 packets transmitted, 0 packets received, 100.0% packet loss"
            exit 2
          fi
        '';
        passAsFile = [ "zerotier" "rebuild" "nixosVersion" "ping6" ];
      } ''
        mkdir -p $out/bin
        cp $zerotierPath $out/bin/zerotier-cli
        ${if kind == "darwin" then "cp $rebuildPath $out/bin/darwin-rebuild; cp $ping6Path $out/bin/ping6" else "cp $nixosVersionPath $out/bin/nixos-version"}
        chmod 555 $out/bin/*
      '';

      darwinSystem = host:
        let
          system = "aarch64-darwin";
          daemon = "/Library/LaunchDaemons/com.zerotier.one.plist";
        in shell system "darwin-system-${version}" {
          etc = etc system host "";
          path = programs system host daemon "darwin";
          plist = ''
            <?xml version="1.0" encoding="UTF-8"?>
            <plist version="1.0"><dict>
              <key>Label</key><string>com.zerotier.one</string>
              <key>KeepAlive</key><true/>
            </dict></plist>
          '';
          activate = ''
            #!/bin/sh
            set -eu
            system=@out@
            ${begin "activate"}
            ${linkEtc}
            echo "setting up launchd services..." >&2
            mkdir -p /Library/LaunchDaemons
            cp "$system/Library/LaunchDaemons/"*.plist /Library/LaunchDaemons/
            ln -sfn "$system" /run/current-system
          '';
          activateUser = ''
            #!/bin/sh
            echo "activate-user is deprecated: everything is done by activate" >&2
          '';
          passAsFile = [ "plist" "activate" "activateUser" ];
        } ''
          mkdir -p $out/Library/LaunchDaemons
          ln -s $etc/etc $out/etc
          ln -s $path $out/sw
          cp $plistPath $out/Library/LaunchDaemons/com.zerotier.one.plist
          sed "s|@out@|$out|" $activatePath > $out/activate
          cp $activateUserPath $out/activate-user
          chmod 555 $out/activate $out/activate-user
          echo ${version} > $out/darwin-version
          echo ${system} > $out/system
          echo $out > $out/systemConfig
        '';

      nixosSystem = host:
        let
          system = "x86_64-linux";
          unit = "/etc/systemd/system/zerotierone.service";
        in shell system "nixos-system-${host}-${version}" {
          etc = etc system host ''
            [Service]
            ExecStart=/run/current-system/sw/bin/zerotier-one
          '';
          path = programs system host unit "nixos";
          activate = ''
            #!/bin/sh
            set -eu
            system=@out@
            ${linkEtc}
            ln -sfn "$system" /run/current-system
          '';
          # The exit codes are those of switch-to-configuration-ng.
          switch = ''
            #!/bin/sh
            set -u
            system=@out@
            action=''${1:-}
            usage() {
              echo "Usage: $0 [check|switch|boot|test|dry-activate]" >&2
              exit 1
            }
            boot() {
              echo "updating the bootloader..." >&2
              mkdir -p /boot/loader/entries
              echo "linux $system/kernel init=$system/init" > /boot/loader/entries/nixos.conf
            }
            case "$action" in
              check) exit 0 ;;
              dry-activate)
                echo "would activate the configuration..." >&2
                [ "$(readlink /run/current-system)" = "$system" ] || echo "would restart the following units: zerotierone.service" >&2
                exit 0 ;;
              switch | boot | test) ;;
              *) usage ;;
            esac
            mkdir -p /run/nixos
            exec 8> /run/nixos/switch-to-configuration.lock
            flock -n 8 || { echo "Could not acquire lock" >&2; exit 1; }
            ${begin "$action"}
            if [ "$action" != test ]; then boot || exit 1; fi
            if [ "$action" = boot ]; then exit 0; fi
            changed=
            [ "$(readlink /run/current-system)" = "$system" ] || changed=yes
            echo "activating the configuration..." >&2
            "$system/activate" 8>&- || exit 2
            if [ "$changed" ]; then echo "restarting the following units: zerotierone.service" >&2; fi
          '';
          init = ''
            #!/bin/sh
            exec /sbin/init
          '';
          passAsFile = [ "activate" "switch" "init" ];
        } ''
          mkdir -p $out/bin
          ln -s $etc/etc $out/etc
          ln -s $path $out/sw
          sed "s|@out@|$out|" $activatePath > $out/activate
          sed "s|@out@|$out|" $switchPath > $out/bin/switch-to-configuration
          cp $initPath $out/init
          chmod 555 $out/activate $out/bin/switch-to-configuration $out/init
          echo "a kernel" > $out/kernel
          printf %s ${version} > $out/nixos-version
          printf %s ${system} > $out/system
        '';

      # The password that whoever stands before cinnabar has, once it is generated.
      emergencyAccess =
        let hash = ./vars/per-machine/cinnabar/emergency-access/password-hash/value;
        in if builtins.pathExists hash then builtins.readFile hash else false;

      # What terranix makes of a terraform configuration. The API is the lab's; the
      # token comes by the environment.
      terraform.cinnabar = {
        terraform.required_providers.hcloud = { source = "hetznercloud/hcloud"; version = "~> 1.68"; };
        provider.hcloud = { endpoint = "http://${import ./net.nix}.1:8088/v1"; poll_interval = "50ms"; };
        resource.hcloud_ssh_key.admin = {
          name = "admin";
          public_key = builtins.replaceStrings [ "\n" ] [ "" ] (builtins.readFile ./keys/admin.pub);
        };
        resource.hcloud_server.cinnabar = {
          name = "cinnabar";
          server_type = "cx53";
          image = "debian-12";
          location = "fsn1";
          ssh_keys = [ "\${hcloud_ssh_key.admin.id}" ];
          labels.fleet = "lab";
        };
        output.ipv4.value = "\${hcloud_server.cinnabar.ipv4_address}";
        output.id.value = "\${hcloud_server.cinnabar.id}";
      };

      darwin = host:
        let system = darwinSystem host;
        in { inherit system; config.system.build.toplevel = system; config.networking.hostName = host; };
    in {
      inherit terraform;
      clanInternals = import ./clan.nix;
      nixosConfigurations.cinnabar.config = {
        system.build.toplevel = nixosSystem "cinnabar";
        networking.hostName = "cinnabar";
        boot.initrd.systemd.emergencyAccess = emergencyAccess;
      };
      darwinConfigurations = {
        blackphos = darwin "blackphos";
        rosegold = darwin "rosegold";
        argentum = darwin "argentum";
        stibnite = darwin "stibnite";
      };
      packages.x86_64-linux = {
        terraform-cinnabar = shell "x86_64-linux" "config.tf.json" {
          json = builtins.toJSON terraform.cinnabar;
          passAsFile = [ "json" ];
        } "cp $jsonPath $out";
        default = shell "x86_64-linux" "hello" { } "mkdir $out; echo hello > $out/hello";
        # For trying what infra does with a build that fails, takes long or is large.
        fail = shell "x86_64-linux" "fail" { } "echo compiling; echo 'undefined: frobnicate' >&2; exit 3";
        slow = shell "x86_64-linux" "slow" { } "echo started; sleep 60; echo done > $out";
        big = shell "x86_64-linux" "big" { } "head -c 20000000 /dev/zero > $out";
      };
    };
}
