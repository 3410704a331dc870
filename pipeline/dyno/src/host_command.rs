//! `dyno host`: its command line, and glue between the machine, the state file and the answer.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use dyno_model::catalog::host::Host;

use crate::show::out;
use dyno_base::error::{Error, Result};
use dyno_base::event::{Event, Events};
use dyno_build::catalog::Catalog;
use dyno_host::doctor::Examined;
use dyno_host::knobs::{Wish, examine};
use dyno_host::machine::{Machine, Root};
use dyno_host::scope::MachineScope;
use dyno_host::state::StateFile;
use dyno_host::tune::{Done, Row, may_take_siblings, planned, tune, untune};
use dyno_host::{MeasuringLock, assign_on};

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// What moves a measurement on this machine: how it is, how it should be, and how to set it
    ///
    /// Ends with 0 whatever it finds; 2 or 3 if the host's file is wrong or of another machine. With
    /// --verbose it says of good knobs too why they matter.
    Doctor {
        /// A host of the catalog
        #[arg(long, default_value = "local")]
        host: String,
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
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
    /// Set back what `dyno host tune` has set; needs root
    Untune {
        #[command(flatten)]
        setting: Setting,
    },
}

#[derive(Debug, Args)]
pub struct Place {
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
    place: Place,
}

impl HostCommand {
    /// Carries it out. Returns the exit code.
    pub async fn run(
        &self,
        catalog: Option<&Path>,
        all: bool,
        scope: &MachineScope,
        events: &Events,
    ) -> Result<u8> {
        let host = |name: &str| Catalog::open(catalog)?.host(name);
        match self {
            Self::Doctor { host: name, json, place } => {
                let machine = Root::new(&place.root);
                let cores = assign_on(&machine, &host(name)?)?;
                let findings = examine(&machine, &cores.benchmark, Wish::default());
                let examined = Examined::new(name, &cores, findings);
                events.send(Event::Finished);
                out(&if *json {
                    serde_json::to_string_pretty(&examined).expect("plain fields serialise") + "\n"
                } else {
                    examined.text(all)
                })?;
                Ok(0)
            }
            Self::Tune { host: name, smt_off, perf, setting } => {
                let wish = Wish { perf: *perf, smt_off: *smt_off };
                setting.tune(&host(name)?, wish, scope, events).await
            }
            Self::Untune { setting } => setting.untune(scope, events).await,
        }
    }
}

impl Setting {
    fn machine(&self) -> (Root, StateFile) {
        let machine = Root::new(&self.place.root);
        let usual = || machine.at("/var/lib/dyno/tuned.json");
        let file = StateFile::new(self.state.clone().unwrap_or_else(usual));
        (machine, file)
    }

    async fn tune(
        &self,
        host: &Host,
        wish: Wish,
        scope: &MachineScope,
        events: &Events,
    ) -> Result<u8> {
        let (machine, file) = self.machine();
        // Another dyno that measures would be disturbed, one that tunes would read half of it.
        let _lock = self.lock(&machine, scope, events).await?;
        let cores = assign_on(&machine, host)?;
        let findings = examine(&machine, &cores.benchmark, wish);
        may_take_siblings(&machine, host, &findings, wish)?;
        let rows = planned(&machine, &findings, wish);
        events.send(Event::Finished);
        if self.dry_run || !machine.privileged() {
            would(&rows, "set")?;
            if self.dry_run {
                return Ok(0);
            }
        }
        let done = tune(&machine, &file, rows)?;
        told(&done, events)?;
        let (failed, files) = (done.failed(), done.rows.len());
        if files == 0 {
            out("nothing to set: all that dyno can set is as wanted\n")?;
            return Ok(0);
        }
        let at = file.path().display();
        out(&format!("\nformer values are in {at}; `dyno host untune` sets them back\n"))?;
        finished(failed, files, "set")
    }

    async fn untune(&self, scope: &MachineScope, events: &Events) -> Result<u8> {
        let (machine, file) = self.machine();
        let _lock = self.lock(&machine, scope, events).await?;
        events.send(Event::Finished);
        if self.dry_run || !machine.privileged() && file.load()?.is_some() {
            let done = untune(&machine, &file, true)?;
            told_notes(&done, events);
            would(&done.rows, "set back")?;
            if self.dry_run {
                return Ok(0);
            }
        }
        let done = untune(&machine, &file, false)?;
        told(&done, events)?;
        finished(done.failed(), done.rows.len(), "set back")
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

fn would(rows: &[Row], verb: &str) -> Result<()> {
    if rows.is_empty() {
        return out(&format!("would {verb} nothing\n"));
    }
    out(&format!("would {verb}:\n{}", Done { rows: rows.to_vec(), notes: Vec::new() }.text()))
}

fn told(done: &Done, events: &Events) -> Result<()> {
    told_notes(done, events);
    out(&done.text())
}

fn told_notes(done: &Done, events: &Events) {
    done.notes.iter().for_each(|note| events.notice(note));
}

fn finished(failed: usize, files: usize, verb: &str) -> Result<u8> {
    if failed == 0 {
        return Ok(0);
    }
    Err(Error::host(format!("{failed} of {files} could not be {verb}; the others were")))
}
