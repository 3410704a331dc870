{
  description = "dyno: a dynamometer for compilers";

  # By the machine's own registry of flakes; pinned by the flake.lock of whoever has a network.
  inputs.nixpkgs.url = "nixpkgs";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach = f: lib.genAttrs systems (system: f system nixpkgs.legacyPackages.${system});
      # As everywhere in dyno a mirror is a setting of the machine: `nix build --impure`.
      fromEnvironment = builtins.getEnv "DYNO_DEBIAN_MIRROR";
    in
    {
      packages = forEach (
        _: pkgs: rec {
          default = dyno;
          dyno = pkgs.callPackage ./nix/package.nix { src = self; };
        }
      );

      # `nix build --impure .#images.debian-rust-amd64`, or with a mirror of one's own:
      # `dyno.lib.images pkgs "http://…/debian"`.
      lib.images =
        pkgs: mirror:
        pkgs.callPackage ./nix/images.nix {
          inherit mirror;
          inherit (self.packages.${pkgs.system}) dyno;
          catalog = self;
        };
      legacyPackages = forEach (
        _: pkgs: {
          images =
            if fromEnvironment == "" then
              throw "no Debian mirror: set DYNO_DEBIAN_MIRROR, and give nix --impure"
            else
              self.lib.images pkgs fromEnvironment;
        }
      );

      nixosModules.default = import ./nix/module.nix self;

      devShells = forEach (
        system: pkgs: {
          default = pkgs.mkShell {
            inputsFrom = [ self.packages.${system}.dyno ];
            packages = [
              pkgs.clippy
              pkgs.rustfmt
              pkgs.git
              pkgs.gnupg
            ];
          };
        }
      );

      checks = forEach (
        system: pkgs: {
          # Builds, and runs the tests that need neither root nor containers.
          package = self.packages.${system}.dyno;
          format = pkgs.runCommand "dyno-format" { nativeBuildInputs = [ pkgs.cargo pkgs.rustfmt ]; } ''
            cd ${self} && cargo fmt --all --check && touch $out
          '';
        }
      );
    };
}
