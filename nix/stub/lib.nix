# What dyno's flake takes from nixpkgs' lib, in its own simplest form. A module is evaluated
# without checks of types and without merging: what is told is that its names resolve and what
# its values are.
let
  inherit (builtins)
    concatMap
    concatStringsSep
    listToAttrs
    map
    ;
in
rec {
  genAttrs = names: f: listToAttrs (map (name: { inherit name; value = f name; }) names);
  optional = yes: value: if yes then [ value ] else [ ];
  optionals = yes: values: if yes then values else [ ];
  optionalAttrs = yes: values: if yes then values else { };
  escapeShellArgs = words: concatStringsSep " " (map (word: "'${word}'") words);
  makeBinPath = packages: concatStringsSep ":" (map (package: "${package}/bin") packages);
  licenses = genAttrs [ "mit" "asl20" ] (id: { inherit id; });
  platforms.linux = [ "x86_64-linux" "aarch64-linux" ];

  mkIf = condition: content: if condition then content else null;
  mkOption = option: option // { _option = true; };
  mkEnableOption = what: mkOption { default = false; description = "Whether to have ${what}."; };
  types = {
    package = "package";
    path = "path";
    str = "str";
    enum = values: { inherit values; };
    either = a: b: [ a b ];
    nullOr = a: [ "null" a ];
    listOf = a: { list = a; };
  };

  # The settings of a module: `given` where it says something, else the options' defaults.
  settings =
    options: given:
    builtins.mapAttrs
      (
        name: option:
        if option ? _option then
          given.${name} or option.default
        else
          settings option (given.${name} or { })
      )
      options;

  # What a module makes of `given`, below `path` of its options.
  evaluated =
    module: path: given: pkgs:
    let
      lib = import ./lib.nix;
      get = builtins.foldl' (set: name: set.${name});
      put = builtins.foldl' (set: name: { ${name} = set; });
      config = put (settings (get made.options path) given) (reversed path);
      made = module { inherit config lib pkgs; };
    in
    made.config;
  reversed = list: concatMap (n: [ (builtins.elemAt list (builtins.length list - 1 - n)) ]) (
    builtins.genList (n: n) (builtins.length list)
  );
}
