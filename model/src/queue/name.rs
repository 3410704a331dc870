//! Names of open jobs. All that is needed to choose one is in its name, so that of a hundred
//! thousand only the one that is taken has to be read.

use super::{Needs, Order, QueueJob, class_word, path};
use crate::id::QueueJobId;
use crate::request::HostChoice;

/// What the name of a job's object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobName {
    pub id: QueueJobId,
    pub order: Order,
    pub class: HostChoice,
    pub needs: Needs,
    pub preferred: Option<String>,
}

/// Stands for what a name does not say.
const NOTHING: &str = "_";

impl JobName {
    /// The name's parts of `job`.
    pub fn new(job: &QueueJob) -> Self {
        Self {
            id: job.id.clone(),
            order: job.order,
            class: job.request.host.clone(),
            needs: job.needs.clone(),
            preferred: job.preferred.clone(),
        }
    }

    /// The path of the object, relative to the store. Names sort as jobs are begun, for people who
    /// list them; dyno compares the numbers.
    pub fn path(&self) -> String {
        let (priority, depth, asked_us) = self.order.key();
        let kind = match self.class {
            HostChoice::Name(_) => "host",
            HostChoice::Class(_) => "class",
        };
        let optional = |text: &Option<String>| text.as_deref().map_or(NOTHING.into(), escape);
        let (id, class) = (&self.id, escape(class_word(&self.class)));
        let (architecture, preferred) =
            (optional(&self.needs.architecture), optional(&self.preferred));
        let Needs { cores, schema, .. } = self.needs;
        format!(
            "{}{priority:03}.{depth:010}.{asked_us:020}.{id}.{kind}.{class}.{architecture}.{cores}.\
             {schema}.{preferred}.json",
            path::JOBS
        )
    }

    /// The job that `path` names; `None` for a name that nobody gives.
    pub fn parse(path: &str) -> Option<Self> {
        let stem = path.strip_prefix(path::JOBS)?.strip_suffix(".json")?;
        let parts: Vec<&str> = stem.split('.').collect();
        let [priority, depth, asked_us, id, kind, class, architecture, cores, schema, preferred] =
            parts[..]
        else {
            return None;
        };
        let optional = |text: &str| match text {
            NOTHING => Some(None),
            text => unescape(text).map(Some),
        };
        let class = unescape(class)?;
        let name = Self {
            id: id.parse().ok()?,
            order: Order {
                priority: u8::MAX - priority.parse::<u8>().ok()?,
                depth: u32::MAX - depth.parse::<u32>().ok()?,
                asked_us: asked_us.parse().ok()?,
            },
            class: match kind {
                "host" => HostChoice::Name(class),
                "class" => HostChoice::Class(class),
                _ => return None,
            },
            needs: Needs {
                architecture: optional(architecture)?,
                cores: cores.parse().ok()?,
                schema: schema.parse().ok()?,
            },
            preferred: optional(preferred)?,
        };
        // Written back, because `+5` and the like parse but are nobody's name.
        (name.path() == path).then_some(name)
    }
}

/// `text` of letters, digits and `-` alone, and of `_xx` for each other byte.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("_{byte:02x}")),
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((plain, escaped)) = rest.split_once('_') {
        bytes.extend(plain.bytes());
        bytes.push(u8::from_str_radix(escaped.get(..2)?, 16).ok()?);
        rest = &escaped[2..];
    }
    bytes.extend(rest.bytes());
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(class: HostChoice, preferred: Option<&str>) -> JobName {
        JobName {
            id: "ab".repeat(16).parse().unwrap(),
            order: Order { priority: 5, depth: 12, asked_us: 1_800_000_000_000_000 },
            class,
            needs: Needs { architecture: Some("x86_64".into()), ..Needs::LEAST },
            preferred: preferred.map(String::from),
        }
    }

    #[test]
    fn names_parse_to_what_made_them_and_nothing_else_does() {
        for name in [
            name(HostChoice::Name("bench-1".into()), None),
            name(HostChoice::Class("quiet, fast ✓".into()), Some("a.b/c_d")),
            name(HostChoice::Class("_".into()), Some("_")),
            JobName { needs: Needs::LEAST, ..name(HostChoice::Class("".into()), None) },
        ] {
            assert_eq!(JobName::parse(&name.path()), Some(name));
        }
        let path = name(HostChoice::Name("h".into()), None).path();
        for wrong in [
            path.replace("queue/jobs/", "queue/job/"),
            path.replace(".json", ""),
            path.replace(".host.", ".hosts."),
            path.replace(".1.1.", ".+1.1."),
            path.replace("abab", "ABAB"),
            path.replace("._.", ".__."),
            path.replace("250.", "25."),
        ] {
            assert_ne!(wrong, path);
            assert_eq!(JobName::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_sort_as_jobs_are_begun() {
        let path = |priority, depth, asked_us| {
            let order = Order { priority, depth, asked_us };
            JobName { order, ..name(HostChoice::Name("h".into()), None) }.path()
        };
        let sorted = [path(9, 1, 5), path(5, 100, 7), path(5, 9, 1), path(5, 9, 20), path(0, 9, 1)];
        assert!(sorted.is_sorted());
    }
}
