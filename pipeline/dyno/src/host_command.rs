//! `dyno host`: its command line, and glue between the machine, the state file and the answer.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use dyno_model::catalog::host::{Cores, EngineChoice, Host};
use serde::Serialize;

use crate::environment::{host_key_path, store_url};
use crate::host_key;
use crate::options::Global;
use crate::show::{print_as, write_stdout};
use dyno_base::error::{Error, Result};
use dyno_base::event::{Event, Events};
use dyno_base::text::columns;
use dyno_build::catalog::Catalog;
use dyno_host::doctor::DoctorReport;
use dyno_host::knobs::{TuneOptions, examine};
use dyno_host::machine::{Machine, Root};
use dyno_host::scope::MachineScope;
use dyno_host::state::StateFile;
use dyno_host::tune::{Row, TuneReport, check_smt_off, plan_changes, tune, untune};
use dyno_host::{MeasuringLock, assign_on};

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// List the hosts of the catalog
    List {
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what moves a measurement on this machine: how it is, how it should be, and how to set it
    ///
    /// Ends with 0 whatever it finds; 2 or 3 if the host's file is wrong or of another machine.
    /// With --verbose it says of good knobs too why they matter.
    Doctor {
        /// A host of the catalog
        #[arg(long, default_value = "local")]
        host: String,
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: MachineRoot,
    },
    /// Set what dyno can set until the next reboot or `dyno host untune`; needs root
    ///
    /// The former values are written to a file first. Ends with 3 if a knob could not be set; the
    /// others are set all the same.
    Tune {
        /// A host of the catalog
        #[arg(long, default_value = "local")]
        host: String,
        /// Take the SMT siblings of the benchmark cores offline
        #[arg(long)]
        smt_off: bool,
        /// Let every user read hardware counters, those of the kernel too (perf_event_paranoid 1)
        #[arg(long)]
        perf: bool,
        #[command(flatten)]
        setting: Setting,
    },
    /// Print the public key of this machine, as hosts/NAME.toml takes it; make it where there is none
    ///
    /// With a key, every run row that this machine publishes is signed. The private half lies in
    /// host.key of the user's data folder, or where DYNO_HOST_KEY says.
    Key,
    /// Set back what `dyno host tune` has set; needs root
    Untune {
        #[command(flatten)]
        setting: Setting,
    },
}

#[derive(Debug, Args)]
pub struct MachineRoot {
    /// A folder that looks like a machine, for tests
    #[arg(long, hide = true, default_value = "/")]
    root: PathBuf,
}

#[derive(Debug, Args)]
pub struct Setting {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Where the former values are kept [default: /var/lib/dyno/tuned.json]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    place: MachineRoot,
}

impl HostCommand {
    /// Carries it out. Returns the exit code.
    pub async fn run(&self, global: &Global, scope: &MachineScope, events: &Events) -> Result<u8> {
        let host = |name: &str| Catalog::open(global.catalog.as_deref())?.host(name);
        match self {
            Self::List { json } => list(&Catalog::open(global.catalog.as_deref())?, *json),
            Self::Doctor { host: name, json, place } => {
                let machine = Root::new(&place.root);
                let cores = assign_on(&machine, &host(name)?)?;
                let findings = examine(&machine, &cores.benchmark, TuneOptions::default());
                let examined = DoctorReport::new(name, &cores, findings);
                events.send(Event::Finished);
                write_stdout(&if *json {
                    serde_json::to_string_pretty(&examined).expect("plain fields serialise") + "\n"
                } else {
                    examined.text(global.verbose)
                })?;
                Ok(0)
            }
            Self::Tune { host: name, smt_off, perf, setting } => {
                let options = TuneOptions { perf: *perf, smt_off: *smt_off };
                setting.tune(&host(name)?, options, scope, events).await
            }
            Self::Key => {
                let key = host_key::make(&host_key_path()?, &store_url(global)?)?;
                events.send(Event::Finished);
                write_stdout(&format!("public_key = \"{key}\"\n"))?;
                Ok(0)
            }
            Self::Untune { setting } => setting.untune(scope, events).await,
        }
    }
}

/// A host of the catalog in a list.
#[derive(Debug, Serialize)]
struct ListedHost {
    name: String,
    /// `None` where its file cannot be read.
    #[serde(flatten)]
    host: Option<HostFacts>,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    mistake: Option<String>,
}

/// What its file says of a host.
#[derive(Debug, Serialize)]
struct HostFacts {
    /// The architecture as `uname -m` says it; `None` where it is whatever the machine is.
    architecture: Option<String>,
    engine: EngineChoice,
    benchmark_cores: String,
    labels: Vec<String>,
    /// Whether its run rows are signed.
    signed: bool,
}

impl From<Host> for HostFacts {
    fn from(host: Host) -> Self {
        Self {
            benchmark_cores: match &host.benchmark_cores {
                Cores::Auto => "auto".into(),
                Cores::Explicit(cores) => {
                    cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
                }
            },
            architecture: host.architecture,
            engine: host.engine,
            labels: host.labels,
            signed: host.public_key.is_some(),
        }
    }
}

fn list(catalog: &Catalog, json: bool) -> Result<u8> {
    let listed = |name: String| match catalog.host(&name) {
        Ok(host) => ListedHost { name, host: Some(host.into()), mistake: None },
        Err(error) => {
            let mistake = error.to_string().lines().next().map(String::from);
            ListedHost { name, host: None, mistake }
        }
    };
    let hosts: Vec<ListedHost> = catalog.hosts().into_iter().map(listed).collect();
    let header = ["host", "architecture", "engine", "benchmark cores", "labels", "key"];
    let mut rows = vec![header.map(String::from).to_vec()];
    rows.extend(hosts.iter().map(|ListedHost { name, host, mistake }| match host {
        Some(host) => vec![
            name.clone(),
            host.architecture.clone().unwrap_or_else(|| "native".into()),
            host.engine.name().into(),
            host.benchmark_cores.clone(),
            host.labels.join(", "),
            if host.signed { "signs" } else { "–" }.into(),
        ],
        None => {
            let why = format!("cannot be read: {}", mistake.as_deref().unwrap_or_default());
            let none = || "–".to_string();
            vec![name.clone(), none(), none(), none(), none(), why]
        }
    }));
    print_as(json, &hosts, &columns(&rows, &[]))?;
    Ok(0)
}

impl Setting {
    fn machine(&self) -> (Root, StateFile) {
        let machine = Root::new(&self.place.root);
        let default_path = || machine.resolve("/var/lib/dyno/tuned.json");
        let file = StateFile::new(self.state.clone().unwrap_or_else(default_path));
        (machine, file)
    }

    async fn tune(
        &self,
        host: &Host,
        options: TuneOptions,
        scope: &MachineScope,
        events: &Events,
    ) -> Result<u8> {
        let (machine, file) = self.machine();
        // Another dyno that measures would be disturbed, one that tunes would read half of it.
        let _lock = self.lock(&machine, scope, events).await?;
        let cores = assign_on(&machine, host)?;
        let findings = examine(&machine, &cores.benchmark, options);
        check_smt_off(&machine, host, &findings, options)?;
        let rows = plan_changes(&machine, &findings, options);
        events.send(Event::Finished);
        if self.dry_run || !machine.privileged() {
            show_plan(&rows, "set")?;
            if self.dry_run {
                return Ok(0);
            }
        }
        let report = tune(&machine, &file, rows)?;
        show_report(&report, events)?;
        let (failed, files) = (report.failed(), report.rows.len());
        if files == 0 {
            write_stdout("nothing to set: all that dyno can set is as wanted\n")?;
            return Ok(0);
        }
        let path = file.path().display();
        write_stdout(&format!(
            "\nformer values are in {path}; `dyno host untune` sets them back\n"
        ))?;
        exit_code(failed, files, "set")
    }

    async fn untune(&self, scope: &MachineScope, events: &Events) -> Result<u8> {
        let (machine, file) = self.machine();
        let _lock = self.lock(&machine, scope, events).await?;
        events.send(Event::Finished);
        if self.dry_run || !machine.privileged() && file.load()?.is_some() {
            let report = untune(&machine, &file, true)?;
            show_notes(&report, events);
            show_plan(&report.rows, "set back")?;
            if self.dry_run {
                return Ok(0);
            }
        }
        let report = untune(&machine, &file, false)?;
        show_report(&report, events)?;
        exit_code(report.failed(), report.rows.len(), "set back")
    }

    /// Nobody measures while knobs are set; a made-up machine and a plan disturb nobody.
    async fn lock(
        &self,
        machine: &Root,
        scope: &MachineScope,
        events: &Events,
    ) -> Result<Option<MeasuringLock>> {
        if self.dry_run || !machine.is_this_machine() || !machine.privileged() {
            return Ok(None);
        }
        MeasuringLock::take(scope, events).await.map(Some)
    }
}

fn show_plan(rows: &[Row], verb: &str) -> Result<()> {
    if rows.is_empty() {
        return write_stdout(&format!("would {verb} nothing\n"));
    }
    write_stdout(&format!(
        "would {verb}:\n{}",
        TuneReport { rows: rows.to_vec(), notes: Vec::new() }.text()
    ))
}

fn show_report(report: &TuneReport, events: &Events) -> Result<()> {
    show_notes(report, events);
    write_stdout(&report.text())
}

fn show_notes(report: &TuneReport, events: &Events) {
    report.notes.iter().for_each(|note| events.notice(note));
}

fn exit_code(failed: usize, files: usize, verb: &str) -> Result<u8> {
    if failed == 0 {
        return Ok(0);
    }
    Err(Error::host(format!("{failed} of {files} could not be {verb}; the others were")))
}
