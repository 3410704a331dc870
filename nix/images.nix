# The images of a catalog, each for each architecture of its image.lock: an archive for
# `docker load`, and the image ID, which is checked against the lock. Every package is a download
# of its own, by the hash in the lock; dyno puts them together without a network.
#
# Gives { <image>-<architecture> = derivation; }. Images that are pinned to a registry's manifest
# are left out: their layers are not named in the lock.
{ fetchurl
, runCommand
, dyno
, # A folder with images/<name>/image.lock.
  catalog
, # Root of a Debian mirror, as `dyno --mirror` takes it.
  mirror
,
}:
let
  folder = catalog + "/images";
  isLocked = name: builtins.pathExists (folder + "/${name}/image.lock");
  names = builtins.filter isLocked (builtins.attrNames (builtins.readDir folder));

  # A name of its own: versions may hold characters that store paths may not.
  deb =
    package:
    fetchurl {
      name = "${package.sha256}.deb";
      url = "${mirror}/${package.path}";
      inherit (package) sha256;
    };
  link = package: "ln -s ${deb package} cache/debs/${package.sha256}.deb\n";

  image =
    name: locked:
    runCommand "dyno-image-${name}-${locked.name}" { passthru = { inherit (locked) id; }; } ''
      mkdir -p cache/debs catalog/suites catalog/images
      cp -r ${
        builtins.path {
          path = folder + "/${name}";
          name = "dyno-image-${name}";
        }
      } catalog/images/${name}
      ${builtins.concatStringsSep "" (map link locked.packages)}
      ${dyno}/bin/dyno --catalog catalog --cache cache --quiet \
        image build ${name} --arch ${locked.name} --archive > built
      read -r id archive < built
      [ "$id" = "${locked.id}" ] || { echo "$id instead of ${locked.id}"; exit 1; }
      mkdir $out
      mv "$archive" $out/image.tar
      echo "$id" > $out/id
    '';

  of =
    name:
    let
      lock = builtins.fromTOML (builtins.readFile (folder + "/${name}/image.lock"));
      packaged = builtins.filter (locked: locked ? packages) lock.architecture;
    in
    map
      (locked: {
        name = "${name}-${locked.name}";
        value = image name locked;
      })
      packaged;
in
builtins.listToAttrs (builtins.concatLists (map of names))
