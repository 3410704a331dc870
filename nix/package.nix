# The program `dyno`, with the catalog of this repository as its default.
{ lib
, stdenv
, rustPlatform
, makeWrapper
, git
, gnupg
, src
,
}:
rustPlatform.buildRustPackage {
  pname = "dyno";
  inherit ((builtins.fromTOML (builtins.readFile (src + "/Cargo.toml"))).workspace.package) version;
  inherit src;
  cargoLock.lockFile = src + "/Cargo.lock";

  nativeBuildInputs = [ makeWrapper ];
  # pipeline/engine/build.rs links the probe statically.
  buildInputs = [ stdenv.cc.libc.static ];
  cargoBuildFlags = [ "--package=dyno" ];
  # The tests of the other crates need root, containers and registries.
  cargoTestFlags = [
    "--package=dyno-model"
    "--package=dyno-store"
    "--package=dyno-query"
    "--package=dyno-tools"
    "--package=dyno-reports"
  ];

  postInstall = ''
    mkdir -p $out/share/dyno
    cp -r suites images hosts policies $out/share/dyno/
    wrapProgram $out/bin/dyno \
      --prefix PATH : ${lib.makeBinPath [ git gnupg ]} \
      --set-default DYNO_CATALOG $out/share/dyno
  '';

  meta = {
    description = "A dynamometer for compilers";
    license = [
      lib.licenses.mit
      lib.licenses.asl20
    ];
    platforms = lib.platforms.linux;
    mainProgram = "dyno";
  };
}
