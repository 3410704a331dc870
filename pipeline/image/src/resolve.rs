//! Which packages an image needs: the closure of what was asked under Depends and Pre-Depends.
//!
//! The rule is apt's in its simplest form: of alternatives, one already chosen, else the first
//! that the suite has. Nothing is ever taken back, so the outcome depends on the index and the
//! list of packages alone; where that leads to a conflict the list can name the better
//! alternative. Recommends are not followed, and no package is taken for being Essential.
//!
//! Relations: Debian Policy, chapter 7; versions: section 5.6.12, by the `debversion` crate.
//! Pure: the index is text.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use debversion::Version;
use dyno_model::catalog::image::{Package, is_archive_path};

/// One stanza of a `Packages` index.
#[derive(Debug, Clone, Copy, Default)]
struct Stanza<'a> {
    name: &'a str,
    version: &'a str,
    depends: &'a str,
    pre_depends: &'a str,
    conflicts: &'a str,
    breaks: &'a str,
    provides: &'a str,
    filename: &'a str,
    size: &'a str,
    sha256: &'a str,
}

/// The packages one architecture may install.
pub struct Index<'a> {
    architecture: &'a str,
    stanzas: Vec<Stanza<'a>>,
    /// Name → stanzas of that name.
    named: HashMap<&'a str, Vec<usize>>,
    /// Virtual name → who provides it, and as which version.
    provided: HashMap<&'a str, Vec<(usize, Option<&'a str>)>>,
}

impl<'a> Index<'a> {
    /// Reads the texts of `Packages` files.
    pub fn parse(architecture: &'a str, texts: &[&'a str]) -> Result<Self, String> {
        let mut index = Self {
            architecture,
            stanzas: Vec::new(),
            named: HashMap::new(),
            provided: HashMap::new(),
        };
        for text in texts {
            for paragraph in text.split("\n\n").filter(|p| !p.trim().is_empty()) {
                let stanza = stanza(paragraph);
                if stanza.name.is_empty() || stanza.version.is_empty() {
                    return Err("a paragraph of the package index has no name or version".into());
                }
                let number = index.stanzas.len();
                index.stanzas.push(stanza);
                index.named.entry(stanza.name).or_default().push(number);
                for alternatives in relations(stanza.provides, "Provides", &stanza)? {
                    for relation in alternatives {
                        let version = relation.constraint.map(|(_, version)| version);
                        index.provided.entry(relation.name).or_default().push((number, version));
                    }
                }
            }
        }
        for providers in index.provided.values_mut() {
            providers.sort_by_key(|(number, _)| index.stanzas[*number].name);
        }
        Ok(index)
    }
}

fn stanza(paragraph: &str) -> Stanza<'_> {
    let mut stanza = Stanza::default();
    for line in paragraph.split('\n') {
        // The keys wanted are told apart from the many others by their first letter.
        if !line.starts_with(['P', 'V', 'D', 'C', 'B', 'F', 'S']) {
            continue;
        }
        let Some((key, value)) = line.split_once(": ") else { continue };
        let field = match key {
            "Package" => &mut stanza.name,
            "Version" => &mut stanza.version,
            "Depends" => &mut stanza.depends,
            "Pre-Depends" => &mut stanza.pre_depends,
            "Conflicts" => &mut stanza.conflicts,
            "Breaks" => &mut stanza.breaks,
            "Provides" => &mut stanza.provides,
            "Filename" => &mut stanza.filename,
            "Size" => &mut stanza.size,
            "SHA256" => &mut stanza.sha256,
            _ => continue,
        };
        *field = value.trim();
    }
    stanza
}

/// `name [:qualifier] [(op version)] [[architectures]]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Relation<'a> {
    name: &'a str,
    qualifier: Option<&'a str>,
    constraint: Option<(&'a str, &'a str)>,
    /// The text between the brackets.
    architectures: Option<&'a str>,
}

/// A field as "all of (any of …)".
fn relations<'a>(
    field: &'a str,
    key: &str,
    stanza: &Stanza<'_>,
) -> Result<Vec<Vec<Relation<'a>>>, String> {
    let malformed =
        |text: &str| format!("{key} of {} holds \"{text}\", which is no relation", stanza.name);
    let parts = field.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            part.split('|').map(|text| relation(text).ok_or_else(|| malformed(text))).collect()
        })
        .collect()
}

fn relation(text: &str) -> Option<Relation<'_>> {
    let text = text.trim();
    let end = text.find([' ', '(', '[']).unwrap_or(text.len());
    let (word, mut rest) = (&text[..end], text[end..].trim_start());
    let (name, qualifier) = match word.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (word, None),
    };
    let mut constraint = None;
    if let Some(inner) = rest.strip_prefix('(') {
        let (inside, after) = inner.split_once(')')?;
        let inside = inside.trim();
        let split = inside.find(|c: char| !"<>=".contains(c))?;
        let operator = &inside[..split];
        ["<<", "<=", "=", ">=", ">>", "<", ">"].contains(&operator).then_some(())?;
        constraint = Some((operator, inside[split..].trim()));
        rest = after.trim_start();
    }
    let mut architectures = None;
    if let Some(inner) = rest.strip_prefix('[') {
        let (inside, after) = inner.split_once(']')?;
        architectures = Some(inside);
        rest = after.trim_start();
    }
    (!name.is_empty() && rest.is_empty()).then_some(Relation {
        name,
        qualifier,
        constraint,
        architectures,
    })
}

impl Relation<'_> {
    fn applies(&self, architecture: &str) -> bool {
        let Some(list) = self.architectures else { return true };
        let mut words = list.split_whitespace().peekable();
        let negative = words.peek().is_some_and(|word| word.starts_with('!'));
        words.any(|word| word.trim_start_matches('!') == architecture) != negative
    }

    /// Whether a package or a provided name of this version fits.
    fn accepts(&self, version: Option<&str>) -> bool {
        let Some((operator, wanted)) = self.constraint else { return true };
        version.is_some_and(|version| compare_versions(version, operator, wanted))
    }
}

/// Whether `left operator right` holds; a version that is none fits nothing.
fn compare_versions(left: &str, operator: &str, right: &str) -> bool {
    let (Ok(left), Ok(right)) = (left.parse::<Version>(), right.parse::<Version>()) else {
        return false;
    };
    match operator {
        "<<" => left < right,
        // Policy 7.1: the old `<` and `>` mean "or equal".
        "<=" | "<" => left <= right,
        "=" => left == right,
        ">=" | ">" => left >= right,
        ">>" => left > right,
        _ => false,
    }
}

/// The closure of `wanted`, sorted by name; or all that stands in its way, a line each.
pub fn resolve(index: &Index<'_>, wanted: &[String]) -> Result<Vec<Package>, Vec<String>> {
    let mut state = Selection { index, names: BTreeMap::new(), queue: VecDeque::new() };
    let mut problems = Vec::new();
    for name in wanted {
        let relation = Relation { name, qualifier: None, constraint: None, architectures: None };
        match state.named(&relation) {
            Some(number) => state.choose(number),
            None => problems.push(match index.provided.get(name.as_str()) {
                Some(providers) => format!(
                    "{name} is a virtual package: name one that provides it ({})",
                    providers
                        .iter()
                        .map(|(number, _)| index.stanzas[*number].name)
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                None => format!("the suite has no package {name} for {}", index.architecture),
            }),
        }
    }
    while let Some(number) = state.queue.pop_front() {
        state.follow(number, &mut problems);
    }
    state.conflicts(&mut problems);
    let packages: Result<Vec<Package>, String> =
        state.names.values().map(|&number| package(&index.stanzas[number])).collect();
    match packages {
        Ok(packages) if problems.is_empty() => Ok(packages),
        Ok(_) => Err(problems),
        Err(broken) => Err(problems.into_iter().chain([broken]).collect()),
    }
}

struct Selection<'i, 'a> {
    index: &'i Index<'a>,
    names: BTreeMap<&'a str, usize>,
    queue: VecDeque<usize>,
}

impl<'a> Selection<'_, 'a> {
    fn choose(&mut self, number: usize) {
        let name = self.index.stanzas[number].name;
        if self.names.insert(name, number).is_none() {
            self.queue.push_back(number);
        }
    }

    /// The newest package of the relation's very name that fits.
    fn named(&self, relation: &Relation<'_>) -> Option<usize> {
        let foreign = relation
            .qualifier
            .is_some_and(|q| !["any", "native", self.index.architecture].contains(&q));
        let stanzas = &self.index.stanzas;
        let fitting = self.index.named.get(relation.name)?.iter().copied();
        fitting
            .filter(|&number| !foreign && relation.accepts(Some(stanzas[number].version)))
            .max_by_key(|&number| stanzas[number].version.parse::<Version>().ok())
    }

    fn is_chosen(&self, number: usize) -> bool {
        self.names.get(self.index.stanzas[number].name) == Some(&number)
    }

    /// Everything fitting that provides this name.
    fn providers(&self, relation: &Relation<'_>) -> impl Iterator<Item = usize> {
        let providers = self.index.provided.get(relation.name).map_or(&[][..], Vec::as_slice);
        providers
            .iter()
            .filter(|(_, version)| relation.accepts(*version))
            .map(|(number, _)| *number)
    }

    fn is_met(&self, relation: &Relation<'_>) -> bool {
        let named = self.names.get(relation.name).copied();
        named.is_some_and(|number| relation.accepts(Some(self.index.stanzas[number].version)))
            || self.providers(relation).any(|number| self.is_chosen(number))
    }

    /// Chooses what `number` depends on.
    fn follow(&mut self, number: usize, problems: &mut Vec<String>) {
        let stanza = self.index.stanzas[number];
        for (key, field) in [("Pre-Depends", stanza.pre_depends), ("Depends", stanza.depends)] {
            let dependencies = match relations(field, key, &stanza) {
                Ok(dependencies) => dependencies,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            for alternatives in dependencies {
                let alternatives: Vec<Relation<'_>> = alternatives
                    .into_iter()
                    .filter(|relation| relation.applies(self.index.architecture))
                    .collect();
                if alternatives.is_empty()
                    || alternatives.iter().any(|relation| self.is_met(relation))
                {
                    continue;
                }
                // A name chosen in a version that does not fit cannot be chosen again.
                let is_free =
                    |number: &usize| !self.names.contains_key(self.index.stanzas[*number].name);
                let found = alternatives.iter().find_map(|relation| {
                    self.named(relation)
                        .filter(is_free)
                        .or_else(|| self.providers(relation).find(is_free))
                });
                match found {
                    Some(found) => self.choose(found),
                    None => problems.push(format!(
                        "{} {key}: {}, which the suite cannot give",
                        stanza.name,
                        print_alternatives(&alternatives)
                    )),
                }
            }
        }
    }

    /// Conflicts and Breaks between chosen packages.
    fn conflicts(&self, problems: &mut Vec<String>) {
        let mut found_conflicts = BTreeSet::new();
        for &number in self.names.values() {
            let stanza = self.index.stanzas[number];
            for (key, field) in [("Conflicts", stanza.conflicts), ("Breaks", stanza.breaks)] {
                let relations_against = relations(field, key, &stanza).unwrap_or_else(|problem| {
                    found_conflicts.insert(problem);
                    Vec::new()
                });
                for relation in relations_against
                    .into_iter()
                    .flatten()
                    .filter(|o| o.applies(self.index.architecture))
                {
                    let named =
                        self.names.get(relation.name).copied().filter(|&other| {
                            relation.accepts(Some(self.index.stanzas[other].version))
                        });
                    let against = named
                        .into_iter()
                        .chain(self.providers(&relation).filter(|&other| self.is_chosen(other)))
                        .filter(|&other| other != number);
                    for other in against {
                        let other = self.index.stanzas[other].name;
                        found_conflicts.insert(format!(
                            "{} {key}: {}, but {other} is chosen",
                            stanza.name,
                            print_alternatives(&[relation])
                        ));
                    }
                }
            }
        }
        problems.extend(found_conflicts);
    }
}

fn print_alternatives(alternatives: &[Relation<'_>]) -> String {
    let relation_text = |relation: &Relation<'_>| match relation.constraint {
        Some((operator, version)) => format!("{} ({operator} {version})", relation.name),
        None => relation.name.to_string(),
    };
    alternatives.iter().map(relation_text).collect::<Vec<_>>().join(" | ")
}

fn package(stanza: &Stanza<'_>) -> Result<Package, String> {
    let unusable = |what: &str| format!("the package index gives {} no usable {what}", stanza.name);
    if !is_archive_path(stanza.filename) {
        return Err(unusable("Filename"));
    }
    Ok(Package {
        name: stanza.name.into(),
        version: stanza.version.into(),
        path: stanza.filename.into(),
        size_bytes: stanza.size.parse().map_err(|_| unusable("Size"))?,
        sha256: stanza.sha256.parse().map_err(|_| unusable("SHA256"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian Policy 5.6.12 and the cases of dpkg's own test (lib/dpkg/t/t-version.c).
    #[test]
    fn versions_compare_as_policy_says() {
        for (left, operator, right) in [
            ("1.0~beta1~svn1245", "<<", "1.0~beta1"),
            ("1.0~beta1", "<<", "1.0"),
            ("~~", "<<", "~~a"),
            ("~~a", "<<", "~"),
            ("~", "<<", "a"),
            ("1.0", "=", "0:1.0"),
            ("1.0-0", "=", "1.0"),
            ("1.0-1", ">>", "1.0"),
            ("1:0.5", ">>", "2.0"),
            ("1.2.10", ">>", "1.2.9"),
            ("1.2.010", "=", "1.2.10"),
            ("1.0a", "<<", "1.0+"),
            ("1.0+b1", ">>", "1.0"),
            ("2.0-1+b2", ">>", "2.0-1"),
            ("2.0-1~bpo12+1", "<<", "2.0-1"),
            ("0:0-0-0", ">>", "0-0"),
            ("1.85.0+dfsg3-1", ">=", "1.85"),
            ("20240203", ">>", "1"),
            ("1", ">", "1"),
            ("1", "<", "1"),
        ] {
            assert!(compare_versions(left, operator, right), "{left} {operator} {right}");
            let turned = [("<<", ">>"), (">>", "<<"), ("=", "="), (">=", "<=")];
            if let Some((_, back)) = turned.iter().find(|(o, _)| *o == operator) {
                assert!(compare_versions(right, back, left), "{right} {back} {left}");
            }
        }
        assert!(!compare_versions("1", "=", "not a version"));
    }

    /// `name version field…` a line; fields are separated by `;`.
    fn packages(lines: &str) -> String {
        let hash = "0".repeat(64);
        let stanza = |line: &str| {
            let (head, fields) = line.trim().split_once(';').unwrap_or((line.trim(), ""));
            let (name, version) = head.split_once(' ').unwrap();
            let fields: String = fields.split(';').map(|f| format!("{}\n", f.trim())).collect();
            let fields = fields.trim_start_matches('\n');
            format!(
                "Package: {name}\nVersion: {}\n{fields}Filename: pool/{name}.deb\nSize: 1\nSHA256: {hash}\n",
                version.trim(),
            )
        };
        lines.lines().filter(|l| !l.trim().is_empty()).map(stanza).collect::<Vec<_>>().join("\n")
    }

    fn check(lines: &str, wanted: &[&str], expected: &str) {
        let text = packages(lines);
        let index = Index::parse("amd64", &[&text]).unwrap();
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        let found = match resolve(&index, &wanted) {
            Ok(packages) => {
                let names: Vec<String> =
                    packages.iter().map(|p| format!("{}={}", p.name, p.version)).collect();
                names.join(" ")
            }
            Err(problems) => problems.join("\n"),
        };
        assert_eq!(found, expected, "{lines}");
    }

    #[test]
    fn closures() {
        check(
            "a 1; Depends: b (>= 2), c\n b 1\n b 2; Pre-Depends: d\n c 1\n d 1\n e 1",
            &["a"],
            "a=1 b=2 c=1 d=1",
        );
        // Cycles end.
        check("a 1; Depends: b\n b 1; Depends: a", &["a"], "a=1 b=1");
        // Of alternatives: what is chosen already, else the first that is there.
        check("a 1; Depends: x | b | c\n b 1\n c 1", &["a"], "a=1 b=1");
        check("a 1; Depends: b | c\n b 1\n c 1", &["a", "c"], "a=1 c=1");
        check("a 1; Depends: b (>= 2) | c\n b 1\n c 1", &["a"], "a=1 c=1");
        // Provides: unversioned fits no version, the first name wins, the chosen before it.
        check("a 1; Depends: v\n m 1; Provides: v\n l 1; Provides: v", &["a"], "a=1 l=1");
        check("a 1; Depends: v\n m 1; Provides: v\n l 1; Provides: v", &["a", "m"], "a=1 m=1");
        check(
            "a 1; Depends: v (>= 2)\n l 1; Provides: v\n m 1; Provides: v (= 2.1)",
            &["a"],
            "a=1 m=1",
        );
        // Qualifiers and architecture lists.
        check(
            "a 1; Depends: b:any, c [arm64], d [!arm64], e:amd64\n b 1\n c 1\n d 1\n e 1",
            &["a"],
            "a=1 b=1 d=1 e=1",
        );
        // A package may conflict with what it provides itself.
        check("a 1; Provides: v; Conflicts: v", &["a"], "a=1");
        check("a 1; Breaks: b (<< 2)\n b 2", &["a", "b"], "a=1 b=2");
    }

    #[test]
    fn what_cannot_be_is_said_all_at_once() {
        check(
            "a 1; Depends: b (>= 2)\n b 1",
            &["a", "z"],
            "the suite has no package z for amd64\na Depends: b (>= 2), which the suite cannot give",
        );
        check(
            "a 1; Conflicts: v\n b 1; Provides: v\n c 1; Breaks: a (<= 1)",
            &["a", "b", "c"],
            "a Conflicts: v, but b is chosen\nc Breaks: a (<= 1), but a is chosen",
        );
        check("a 1; Provides: v", &["v"], "v is a virtual package: name one that provides it (a)");
        check(
            "a 1; Depends: b (~ 2)",
            &["a"],
            "Depends of a holds \"b (~ 2)\", which is no relation",
        );
        check("a 1; Depends: b:arm64\n b 1", &["a"], "a Depends: b, which the suite cannot give");
    }
}
