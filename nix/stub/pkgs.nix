# What dyno's flake takes from nixpkgs' packages. Downloads and small commands are real, with the
# machine's own programs; packages are names.
{ system }:
let
  named = name: derivation {
    inherit name system;
    builder = "/bin/sh";
    args = [ "-c" "echo a stub of ${name}: it takes nixpkgs to build it >&2; exit 1" ];
  };
  pkgs = rec {
    inherit system;
    lib = import ./lib.nix;
    callPackage =
      file: more:
      let
        f = import file;
      in
      f (builtins.intersectAttrs (builtins.functionArgs f) pkgs // more);
    stdenv.cc.libc.static = named "libc-static";
    rustPlatform.buildRustPackage =
      args: named "${args.pname}-${args.version}" // { inherit args; };
    makeWrapper = named "make-wrapper";
    git = named "git";
    gnupg = named "gnupg";
    cargo = named "cargo";
    clippy = named "clippy";
    rustfmt = named "rustfmt";
    mkShell = args: named "shell" // { inherit args; };
    fetchurl = { name, url, sha256 }: import <nix/fetchurl.nix> { inherit name url sha256; };
    runCommand =
      name: { passthru ? { }, ... }: script:
      derivation
        {
          inherit name system script;
          builder = "/bin/bash";
          args = [ "-ec" "PATH=/usr/bin:/bin; eval \"$script\"" ];
        }
      // passthru;
  };
in
pkgs
