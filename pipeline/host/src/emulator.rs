//! Programs of another architecture on this machine: the kernel starts an emulator for them, which
//! an administrator has registered with binfmt_misc (Linux, Documentation/admin-guide/
//! binfmt-misc.rst). Only an entry with flag F serves: the kernel then holds the emulator open,
//! so that it works in a container whose image has no such file. The probe stays a native
//! program, and its filter and limits hold for the emulator as for any other program.

use std::path::Path;
use std::process::Command;

const FOLDER: &str = "/proc/sys/fs/binfmt_misc";

/// `uname -m` and `e_machine` of the ELF files of 64 bits, little end first, that may be emulated.
const MACHINES: [(&str, u16); 4] =
    [("x86_64", 62), ("aarch64", 183), ("riscv64", 243), ("ppc64le", 21)];

/// What runs the programs of a foreign architecture here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulator {
    pub architecture: String,
    /// Its name and version, as it says them.
    pub version: String,
}

impl Emulator {
    /// What a reader of results should know.
    pub fn notice(&self) -> String {
        format!(
            "programs of {} are emulated on this {} machine ({}): times and memory are the emulator's, and what only a processor can count (instructions, cycles, branches, cache misses) is not counted",
            self.architecture,
            std::env::consts::ARCH,
            self.version
        )
    }
}

/// The emulator of `architecture` on this machine, or why there is none, as the end of a sentence.
pub fn find(architecture: &str) -> Result<Emulator, String> {
    let off = || format!("binfmt_misc is not mounted at {FOLDER}, or off");
    let status = std::fs::read_to_string(format!("{FOLDER}/status")).map_err(|_| off())?;
    if status.trim() != "enabled" {
        return Err(off());
    }
    let mut why = "none is registered with binfmt_misc".to_string();
    let mut entries: Vec<_> =
        std::fs::read_dir(FOLDER).map_err(|_| off())?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        match interpreter(&text, architecture) {
            Some(Ok(program)) => {
                let architecture = architecture.to_string();
                return Ok(Emulator { architecture, version: version(&program) });
            }
            Some(Err(fault)) => why = format!("{} {fault}", path.display()),
            None => {}
        }
    }
    Err(why)
}

/// The program of a binfmt_misc entry, or why it does not serve; `None` if the entry is another
/// architecture's.
fn interpreter(entry: &str, architecture: &str) -> Option<Result<String, &'static str>> {
    let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (_, wanted) = MACHINES.iter().find(|(name, _)| *name == architecture)?;
    let magic = hex::decode(field("magic ")?).ok()?;
    // ELF, 64 bits, little end first; e_machine stands at byte 18.
    let is_elf = magic.starts_with(b"\x7fELF\x02\x01") && field("offset ") == Some("0");
    let machine = u16::from_le_bytes([*magic.get(18)?, *magic.get(19)?]);
    if !is_elf || machine != *wanted {
        return None;
    }
    let program = field("interpreter ")?.to_string();
    Some(match (entry.lines().next(), field("flags:")) {
        (Some("enabled"), Some(flags)) if flags.contains('F') => Ok(program),
        (Some("enabled"), _) => Err("lacks the flag F, so it does not work in containers"),
        _ => Err("is disabled"),
    })
}

/// What the program says of itself; its name where it says nothing.
fn version(program: &str) -> String {
    let path = std::fs::canonicalize(program).unwrap_or_else(|_| program.into());
    let output = Command::new(&path).arg("--version").output().ok().filter(|o| o.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let first = text.as_deref().and_then(|text| text.lines().next()).map(str::trim);
    let name = || Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    first.filter(|line| !line.is_empty()).map_or_else(name, str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QEMU: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\n\
        mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn entries() {
        let program = Ok("/usr/bin/qemu-aarch64-static".to_string());
        let no_flag = Err("lacks the flag F, so it does not work in containers");
        let class = ("magic 7f454c4602", "magic 7f454c4601");
        for (from, to, architecture, expected) in [
            ("", "", "aarch64", Some(program)),
            ("", "", "x86_64", None),
            ("", "", "vax", None),
            ("POF", "PO", "aarch64", Some(no_flag)),
            ("enabled", "disabled", "aarch64", Some(Err("is disabled"))),
            ("offset 0", "offset 4", "aarch64", None),
            (class.0, class.1, "aarch64", None),
            ("b700", "f300", "aarch64", None),
            ("0200b700", "0200", "aarch64", None),
            ("magic", "extension", "aarch64", None),
        ] {
            let entry = QEMU.replacen(from, to, 1);
            assert_eq!(interpreter(&entry, architecture), expected, "{entry}");
        }
    }

    #[test]
    fn a_program_that_says_nothing_goes_by_its_name() {
        assert_eq!(version("/nonexistent/qemu-x"), "qemu-x");
        assert!(version("/bin/ls").contains("ls"));
    }
}
