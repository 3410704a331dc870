# What a host's settings come to, for a look at the module where there is no nixpkgs.
{ src }:
let
  stub = import ./pkgs.nix { system = "x86_64-linux"; };
  self.packages.x86_64-linux.dyno = "/dyno";
  of = stub.lib.evaluated (import (src + "/nix/module.nix") self) [ "services" "dyno" ];
in
{
  off = of { } stub;
  embedded = of
    {
      enable = true;
      mirror = "http://mirror.example/debian";
      comparisons = [ [ "wasmi" "0.31.2" "0.46.0" "--rounds=20" ] ];
      tune = { enable = true; options = [ "--smt-off" ]; };
      bootCores = "3";
    }
    stub;
  docker = of { enable = true; engine = "docker"; bootCores = "2-3"; } stub;
  agent = of { enable = true; agent = { enable = true; key = "/run/secrets/host.key"; }; } stub;
}
