{
  description = "As much of nixpkgs as dyno's flake names, to evaluate it where there is none";

  outputs = _: {
    lib = import ./lib.nix;
    legacyPackages = {
      x86_64-linux = import ./pkgs.nix { system = "x86_64-linux"; };
      aarch64-linux = import ./pkgs.nix { system = "aarch64-linux"; };
    };
  };
}
