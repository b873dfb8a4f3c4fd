# The clan: its inventory, and the vars that its machines declare. It has what
# infra and clan's CLI read of a clan's flake.
let
  tags = {
    cinnabar = [ "vps" ];
    blackphos = [ "mac" ];
    rosegold = [ "mac" ];
    argentum = [ "mac" ];
    stibnite = [ "mac" "workstation" ];
  };
  machines = builtins.mapAttrs (name: tags: {
    inherit name tags;
    machineClass = if name == "cinnabar" then "nixos" else "darwin";
    deploy = { targetHost = "root@${name}"; buildHost = null; };
    description = null;
    installedAt = null;
  }) tags;

  zerotier = {
    share = false;
    dependencies = [ ];
    prompts = { };
    validationHash = "zerotier-1";
    files = {
      identity = { secret = true; deploy = true; };
      network-id = { secret = false; deploy = true; };
    };
    finalScript = ''
      head -c 32 /dev/urandom | sha256sum | cut -d " " -f 1 > $out/identity
      printf 8056c2e21c000001 > $out/network-id
    '';
  };

  # A person lives on every Mac; clan asks for their password.
  user = {
    share = false;
    dependencies = [ ];
    prompts.password = { description = "Password of the first user"; type = "hidden"; persist = true; };
    validationHash = null;
    files.password = { secret = true; deploy = true; };
    finalScript = "cp $prompts/password $out/password";
  };

  # The server's ssh key is known before the server is, and signed by the
  # authority that all machines share.
  openssh = {
    share = false;
    dependencies = [ ];
    prompts = { };
    validationHash = null;
    files."ssh.id_ed25519" = { secret = true; deploy = true; };
    files."ssh.id_ed25519.pub" = { secret = false; deploy = true; };
    finalScript = ''
      ssh-keygen -q -t ed25519 -N "" -C "" -f $out/ssh.id_ed25519
    '';
  };
  openssh-ca = {
    share = true;
    dependencies = [ ];
    prompts = { };
    validationHash = null;
    files.id_ed25519 = { secret = true; deploy = false; };
    files."id_ed25519.pub" = { secret = false; deploy = false; };
    finalScript = ''
      ssh-keygen -q -t ed25519 -N "" -C "" -f $out/id_ed25519
    '';
  };
  openssh-cert = {
    share = false;
    dependencies = [ "openssh" "openssh-ca" ];
    prompts = { };
    validationHash = null;
    files."ssh.id_ed25519-cert.pub" = { secret = false; deploy = true; };
    finalScript = ''
      chmod 600 $in/openssh-ca/id_ed25519
      ssh-keygen -q -s $in/openssh-ca/id_ed25519 -I cinnabar -h -n cinnabar,${import ./net.nix}.2 -V -5m:+52w $in/openssh/ssh.id_ed25519.pub
      mv $in/openssh/ssh.id_ed25519-cert.pub $out/
    '';
  };
  # Who stands before a server that does not boot logs in with this password.
  emergency-access = {
    share = false;
    dependencies = [ ];
    prompts = { };
    validationHash = null;
    files.password = { secret = true; deploy = false; };
    files.password-hash = { secret = false; deploy = true; };
    finalScript = ''
      head -c 16 /dev/urandom | sha256sum | cut -c 1-24 | tr -d "\n" > $out/password
      openssl passwd -6 -stdin < $out/password | tr -d "\n" > $out/password-hash
    '';
  };

  configurations = builtins.mapAttrs (_: m: {
    config.clan.core = {
      sops.defaultGroups = [ "admins" ];
      vars.settings.secretModule = "clan_cli.vars.secret_modules.sops";
      vars.generators = { inherit zerotier; } // (if m.machineClass == "darwin" then { inherit user; } else { inherit openssh openssh-ca openssh-cert emergency-access; });
    };
  }) machines;
in {
  inventoryClass.inventorySerialization = {
    inherit machines;
    meta = { name = "lab"; description = "five hosts"; icon = null; };
    instances = builtins.mapAttrs (name: roles: { inherit roles; module = { inherit name; input = null; }; }) {
      zerotier = { controller.machines.cinnabar = { }; peer.tags.all = { }; };
      sshd.server.machines.cinnabar = { };
      emergency-access.default.machines.cinnabar = { };
    };
    tags = { };
  };
  # As with clan, all machines stand under each system.
  machines = { x86_64-linux = configurations; aarch64-linux = configurations; aarch64-darwin = configurations; };
}
