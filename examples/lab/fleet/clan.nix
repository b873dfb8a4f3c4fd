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

  configurations = builtins.mapAttrs (_: m: {
    config.clan.core = {
      sops.defaultGroups = [ "admins" ];
      vars.settings.secretModule = "clan_cli.vars.secret_modules.sops";
      vars.generators = { inherit zerotier; } // (if m.machineClass == "darwin" then { inherit user; } else { });
    };
  }) machines;
in {
  inventoryClass.inventorySerialization = {
    inherit machines;
    meta = { name = "lab"; description = "five hosts"; icon = null; };
    instances = { };
    tags = { };
  };
  # As with clan, all machines stand under each system.
  machines = { x86_64-linux = configurations; aarch64-linux = configurations; aarch64-darwin = configurations; };
}
