{
  description = "infra runs infrastructure plans written in Starlark";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ];
      each = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: rec {
        infra = pkgs.buildGoModule {
          pname = "infra";
          version = self.shortRev or "dirty";
          src = self;
          vendorHash = "sha256-jazLz/fJvoy59Q4vAoF6UdmxYa3VoTJRPXG3v7JqgxI=";
          subPackages = [ "cmd/infra" ];
          # sops links Google's storage client, and that one's direct paths inside Google's
          # network, which nobody needs here: 12 MB of the program, and as much of its memory.
          tags = [ "disable_grpc_modules" ];
          ldflags = [
            "-s"
            "-w"
          ];
          # The tests bring up hosts in namespaces and need root: see checks.
          doCheck = false;
          nativeBuildInputs = [ pkgs.installShellFiles ];
          postInstall = ''
            installShellCompletion --cmd infra \
              --bash <($out/bin/infra completion bash) \
              --fish <($out/bin/infra completion fish) \
              --zsh <($out/bin/infra completion zsh)
          '';
          meta.mainProgram = "infra";
        };
        default = infra;
      });

      apps = each (pkgs: {
        default = {
          type = "app";
          program = "${self.packages.${pkgs.system}.infra}/bin/infra";
        };
      });

      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.age
            pkgs.go
            pkgs.just
            pkgs.openssh
            pkgs.sops
          ];
        };
      });

      checks = each (pkgs: {
        infra = self.packages.${pkgs.system}.infra;
      });
    };
}
