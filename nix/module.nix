# A host that measures: a timer, its service and user, and the machine made quieter.
self:
{ config
, lib
, pkgs
, ...
}:
let
  inherit (lib) mkEnableOption mkIf mkOption types;
  cfg = config.services.dyno;
  embedded = cfg.engine == "embedded";
  dyno = "${cfg.package}/bin/dyno";
  words = lib.escapeShellArgs;
  # The scheduler spreads no threads over isolated cores: of several none is isolated.
  oneCore = builtins.match "[0-9]+" cfg.bootCores != null;
  environment = {
    DYNO_CATALOG = "${cfg.catalog}";
    DYNO_STORE = cfg.store;
    DYNO_CACHE = "/var/cache/dyno";
    # Reports go to dyno/reports below it.
    XDG_DATA_HOME = "/var/lib";
  }
  // lib.optionalAttrs (cfg.mirror != null) { DYNO_DEBIAN_MIRROR = cfg.mirror; };
in
{
  options.services.dyno = {
    enable = mkEnableOption "dyno, a dynamometer for compilers, as a host that measures";
    package = mkOption {
      type = types.package;
      default = self.packages.${pkgs.system}.dyno;
      description = "The package with the program.";
    };
    catalog = mkOption {
      type = types.either types.path types.str;
      default = "${cfg.package}/share/dyno";
      description = "The folder with suites/, images/, hosts/ and policies/.";
    };
    host = mkOption {
      type = types.str;
      default = "local";
      description = "This machine in the catalog: hosts/<name>.toml.";
    };
    store = mkOption {
      type = types.str;
      default = "/var/lib/dyno/store";
      description = "Where measurements are kept: a folder, or a URL such as s3://bucket/prefix.";
    };
    mirror = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "Root of a Debian mirror. A NixOS machine has no apt sources to find one in.";
    };
    engine = mkOption {
      type = types.enum [
        "embedded"
        "docker"
      ];
      default = "embedded";
      description = ''
        Who makes the containers: dyno itself, which then runs as root, or Docker, which is then
        switched on, and dyno runs as the user `dyno`. The host's file must not say otherwise.
      '';
    };
    schedule = mkOption {
      type = types.str;
      default = "02:00";
      description = "When the comparisons are run, as systemd.time(7) writes it.";
    };
    comparisons = mkOption {
      type = types.listOf (types.listOf types.str);
      default = [ ];
      example = [
        [
          "wasmi"
          "0.31.2"
          "0.46.0"
          "--rounds=20"
        ]
      ];
      description = ''
        What `dyno run` is given each time: suite, baseline, candidate, and options. What the store
        holds already is not measured again.
      '';
    };
    agent = {
      enable = mkEnableOption "an agent, which takes jobs from the store's queue (docs/queue.md)";
      key = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "/run/secrets/dyno-host.key";
        description = "The host's private key, where it is not /var/lib/dyno/host.key.";
      };
      environmentFile = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "/run/secrets/dyno-agent.env";
        description = "A file with the AWS_* variables of a store that is a bucket.";
      };
    };
    tune = {
      enable = mkEnableOption "making the machine quieter while it is up (dyno host tune)";
      options = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "--smt-off" ];
        description = "Further options of `dyno host tune`.";
      };
    };
    bootCores = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "3";
      description = ''
        The host's benchmark cores, for what only boot parameters can do: interrupts, ticks and
        callbacks kept off them, and, if it is one core, every other program (docs/quiet-host.md).
      '';
    };
  };

  config = mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    virtualisation.docker.enable = mkIf (!embedded) true;
    users.groups.dyno = { };
    users.users.dyno = {
      isSystemUser = true;
      group = "dyno";
      extraGroups = lib.optional (!embedded) "docker";
      home = "/var/lib/dyno";
    };
    boot.kernelParams = lib.optionals (cfg.bootCores != null) [
      "isolcpus=managed_irq,${if oneCore then "domain," else ""}${cfg.bootCores}"
      "nohz_full=${cfg.bootCores}"
      "rcu_nocbs=${cfg.bootCores}"
    ];

    systemd.timers.dyno = {
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = cfg.schedule;
        Persistent = true;
      };
    };
    systemd.services.dyno = {
      description = "dyno's comparisons";
      after = [ "network-online.target" ] ++ lib.optional cfg.tune.enable "dyno-tune.service";
      wants = [ "network-online.target" ] ++ lib.optional cfg.tune.enable "dyno-tune.service";
      inherit environment;
      serviceConfig = {
        Type = "oneshot";
        User = if embedded then "root" else "dyno";
        StateDirectory = "dyno";
        CacheDirectory = "dyno";
        ExecStart = map
          (
            comparison: "${dyno} run ${words (comparison ++ [ "--host=${cfg.host}" ])}"
          )
          cfg.comparisons;
        # A commit that does not work (5) is a result, and the next comparison is run.
        SuccessExitStatus = "1 5";
      };
    };
    # As hosts/systemd/dyno-agent.service.
    systemd.services.dyno-agent = mkIf cfg.agent.enable {
      description = "dyno agent: measures what is asked for in the store's queue";
      wantedBy = [ "multi-user.target" ];
      after = [ "network-online.target" ] ++ lib.optional cfg.tune.enable "dyno-tune.service";
      wants = [ "network-online.target" ] ++ lib.optional cfg.tune.enable "dyno-tune.service";
      environment =
        environment // lib.optionalAttrs (cfg.agent.key != null) { DYNO_HOST_KEY = cfg.agent.key; };
      serviceConfig = {
        User = if embedded then "root" else "dyno";
        StateDirectory = "dyno";
        CacheDirectory = "dyno";
        ExecStart = "${dyno} agent ${words [ "--host=${cfg.host}" ]}";
        KillMode = "mixed";
        TimeoutStopSec = "5min";
        Restart = "on-failure";
        RestartSec = 60;
        RestartPreventExitStatus = "2 3";
      }
      // lib.optionalAttrs (cfg.agent.environmentFile != null) {
        EnvironmentFile = cfg.agent.environmentFile;
      };
    };
    systemd.services.dyno-tune = mkIf cfg.tune.enable {
      description = "the machine made quieter for dyno";
      wantedBy = [ "multi-user.target" ];
      inherit environment;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        StateDirectory = "dyno";
        ExecStart = "${dyno} host tune ${words ([ "--host=${cfg.host}" ] ++ cfg.tune.options)}";
        ExecStop = "${dyno} host untune";
      };
    };
  };
}
