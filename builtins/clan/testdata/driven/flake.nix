{
  description = "A clan of two machines, as far as clan itself looks at one";

  outputs = { self }:
    let
      generators = {
        # No prompts; one secret and one public file, and a validation hash.
        ssh-key = {
          validationHash = import ./hash.nix;
          files.key = { };
          files.pub.secret = false;
          finalScript = ''
            head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' > $out/key
            cksum $out/key | cut -d' ' -f1 > $out/pub
            echo "the key is $(cat $out/key)"
          '';
        };
        # A hidden prompt that is kept.
        user = {
          prompts.password = { description = "Password of the first user"; type = "hidden"; persist = true; };
          files.password.deploy = false;
          files.hash.secret = false;
          finalScript = ''
            cp $prompts/password $out/password
            cksum < $prompts/password | cut -d' ' -f1 > $out/hash
          '';
        };
        # Each of the other kinds, one without a description.
        notes = {
          prompts.ssid = { };
          prompts.text = { description = "Notes: anything"; type = "multiline"; };
          prompts.words = { description = "Seed words"; type = "multiline-hidden"; };
          files.ssid.secret = false;
          files.text = { };
          files.words = { };
          finalScript = ''
            cp $prompts/ssid $out/ssid; cp $prompts/text $out/text; cp $prompts/words $out/words
          '';
        };
        # Shared, and what is made of it.
        ca = {
          share = true;
          files.key = { };
          finalScript = "head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \\n' > $out/key";
        };
        cert = {
          dependencies = [ "ca" ];
          files.cert.secret = false;
          finalScript = "cksum $in/ca/key | cut -d' ' -f1 > $out/cert";
        };
      };
      machine = { config.clan.core.vars = { settings.secretModule = "clan_cli.vars.secret_modules.sops"; inherit generators; }; };
      machines = { blackphos = machine; cinnabar = machine; };
    in {
      clanInternals = {
        machines.x86_64-linux = machines;
        machines.aarch64-darwin = machines;
        inventoryClass.inventorySerialization = {
          machines.blackphos = { machineClass = "darwin"; tags = [ "mac" ]; deploy = { targetHost = null; buildHost = "root@builder"; }; };
          machines.cinnabar = { machineClass = "nixos"; tags = [ "vps" ]; deploy = { targetHost = "root@cinnabar"; buildHost = null; }; };
        };
      };
    };
}
