//! The eight suites of the test plan: which test programs, or which tests of them, each is made of.

use crate::report::Line;
use anyhow::{Context as _, Result};
use integration::httpd::Mpm;
use integration::kernel_client::KernelClient;
use serde::{Deserialize, Serialize};

/// A suite of the plan.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// Test programs of the tables of worlds and guests.
    parts: &'static [Part],
    /// Those that need neither: package and arguments of cargo's.
    pub(crate) alone: &'static [(&'static str, &'static [&'static str])],
}

impl Subject {
    /// Whether the ratios of `cargo xtask bench` belong to it, in its long form.
    pub(crate) fn has_ratios(&self) -> bool {
        self.name == "performance"
    }
}

/// A test program, or some of its tests.
#[derive(Debug)]
struct Part {
    test: &'static str,
    /// Its tests whose name contains one of these; none: all.
    tests: &'static [&'static str],
}

const fn all(test: &'static str) -> Part {
    Part { test, tests: &[] }
}

const fn some(test: &'static str, tests: &'static [&'static str]) -> Part {
    Part { test, tests }
}

/// All of them, in the order of the plan.
pub(crate) const SUBJECTS: &[Subject] = &[
    Subject {
        name: "http",
        parts: &[
            all("config"),
            all("http"),
            all("conformance"),
            all("features"),
            all("listings"),
            all("writing"),
            all("transport"),
            all("refusals"),
        ],
        alone: &[],
    },
    Subject { name: "acl", parts: &[all("access"), all("require")], alone: &[] },
    Subject {
        name: "cache",
        parts: &[
            all("logins"),
            all("tickets"),
            all("krb5"),
            all("services"),
            all("secrets"),
            some("access", &["d11_", "an_expired_token"]),
            some("lifecycle", &["d11_"]),
        ],
        alone: &[("afsweb-cache", &["--lib"])],
    },
    Subject {
        name: "pag",
        parts: &[all("userspace_live"), all("guest"), all("kernel_live"), all("kernel"), all("hostile")],
        alone: &[],
    },
    Subject {
        name: "cgi",
        parts: &[
            some("kernel", &["a_program_", "what_a_page_runs", "what_is_started"]),
            some("http", &["other_methods_and_handlers"]),
            some("features", &["programs", "exec_", "servers_behind"]),
            some("hostile", &["programs_that_httpd_starts"]),
        ],
        alone: &[],
    },
    Subject {
        name: "lanes",
        parts: &[
            all("process"),
            all("chaos"),
            all("lifecycle"),
            all("restarts"),
            all("status"),
            all("upgrade"),
        ],
        alone: &[("weblog-proto", &["--test", "lanes"]), ("weblog-starter", &["--test", "nanny"])],
    },
    Subject {
        name: "performance",
        parts: &[all("stress"), all("leaks"), all("callbacks"), all("availability")],
        alone: &[],
    },
    Subject { name: "release", parts: &[all("release")], alone: &[] },
];

/// The suite of this name.
///
/// # Errors
/// There is none: the text has their names.
pub(crate) fn subject(name: &str) -> Result<&'static Subject> {
    let names: Vec<&str> = SUBJECTS.iter().map(|s| s.name).collect();
    SUBJECTS
        .iter()
        .find(|s| s.name == name)
        .with_context(|| format!("no suite {name:?}; there are: {}", names.join(", ")))
}

impl Subject {
    /// The filters for the tests of a program, if it is part of this; empty: all of them.
    pub(crate) fn tests_of(&self, test: &str) -> Option<&'static [&'static str]> {
        self.parts.iter().find(|p| p.test == test).map(|p| p.tests)
    }
}

/// What somebody wants to have run.
#[derive(Debug, Default)]
pub(crate) struct Choice<'a> {
    /// The volumes of a release.
    pub(crate) long: bool,
    /// Only what belongs to this suite of the plan.
    pub(crate) suite: Option<&'static Subject>,
    /// Only programs whose name contains this.
    pub(crate) only: Option<&'a str>,
    /// Only on this client of the kernel's.
    pub(crate) client: Option<KernelClient>,
    /// Only with this MPM, where it matters.
    pub(crate) mpm: Option<Mpm>,
}

impl Choice<'_> {
    /// Whether a program is wanted, and which of its tests (empty: all).
    pub(crate) fn tests_of(&self, test: &str) -> Option<&'static [&'static str]> {
        if self.only.is_some_and(|o| !test.contains(o)) {
            return None;
        }
        self.suite.map_or(Some(&[]), |suite| suite.tests_of(test))
    }

    /// Whether more than the usual run was asked for: who names something wants it in all ways.
    pub(crate) fn is_named(&self) -> bool {
        self.long || self.only.is_some() || self.mpm.is_some()
    }

    /// The options that choose the same.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.long {
            words.push("--long".to_owned());
        }
        let suite = self.suite.map(|suite| ("--suite", suite.name));
        let client = self.client.map(|client| ("--client", client.as_str()));
        let mpm = self.mpm.map(|mpm| ("--mpm", mpm.as_str()));
        for (option, value) in
            [suite, self.only.map(|only| ("--only", only)), client, mpm].into_iter().flatten()
        {
            words.extend([option.to_owned(), value.to_owned()]);
        }
        words
    }

    /// The suites that this runs whole.
    pub(crate) fn subjects(&self) -> &'static [Subject] {
        match (self.only, self.suite) {
            (Some(_), _) => &[],
            (None, Some(suite)) => std::slice::from_ref(suite),
            (None, None) => SUBJECTS,
        }
    }

    /// Of a program's MPMs those that are wanted, `usual` being enough in this kind of run.
    pub(crate) fn mpms(&self, all: &[Mpm], usual: &[Mpm], in_all: bool) -> Vec<Mpm> {
        let of = if in_all { all } else { usual };
        of.iter().copied().filter(|m| self.mpm.is_none_or(|only| only == *m)).collect()
    }
}

/// In words: somewhere, with these MPMs; `None` if there is none.
pub(crate) fn ways(place: &str, mpms: &[Mpm]) -> Option<String> {
    let names: Vec<&str> = mpms.iter().map(|m| m.as_str()).collect();
    (!names.is_empty()).then(|| format!("{place}; {}", names.join(", ")))
}

/// What ran: a test program, on which AFS client, with which MPM (empty: none that matters).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Of {
    pub(crate) test: String,
    pub(crate) client: String,
    pub(crate) mpm: String,
}

/// Client of what needs none.
pub(crate) const NO_CLIENT: &str = "none";

/// How many tests of each suite passed on each client with each MPM: a head and a row for each suite that had any.
pub(crate) fn table(lines: &[Line], subjects: &[Subject]) -> Vec<String> {
    let ran: Vec<(&Of, &Line)> =
        lines.iter().filter(|l| l.skipped.is_none()).filter_map(|l| Some((l.of.as_ref()?, l))).collect();
    let mut columns: Vec<(&str, &str)> = Vec::new();
    for (of, _) in &ran {
        let column = (of.client.as_str(), of.mpm.as_str());
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    let clients = [NO_CLIENT, "userspace", "openafs", "kafs"];
    columns.sort_by_key(|(client, mpm)| {
        let mpm = Mpm::ALL.iter().position(|m| m.as_str() == *mpm);
        (clients.iter().position(|c| c == client), mpm)
    });
    let mut rows = Vec::new();
    for subject in subjects {
        let of_column = |column: &(&str, &str)| {
            let counts = ran.iter().filter(|(of, _)| (of.client.as_str(), of.mpm.as_str()) == *column);
            sum(counts.filter_map(|(of, line)| subject.count(&of.test, line)))
        };
        let cells: Vec<Option<(u32, u32)>> = columns.iter().map(of_column).collect();
        if let Some((passed, failed)) = sum(cells.iter().copied().flatten()) {
            let shown: String = cells.iter().map(|c| cell(&shown(*c))).collect();
            rows.push(format!("{:<12}{shown}{}", subject.name, cell(&self::shown(Some((passed, failed))))));
        }
    }
    if rows.is_empty() {
        return rows;
    }
    let head = |name: &str, of: &dyn Fn(&(&str, &str)) -> String, last: &str| {
        format!("{name:<12}{}{}", columns.iter().map(|c| cell(&of(c))).collect::<String>(), cell(last))
    };
    let heads = [
        head("", &|(client, _)| (*client).to_owned(), ""),
        head("", &|(_, mpm)| if mpm.is_empty() { "any".to_owned() } else { (*mpm).to_owned() }, "all"),
    ];
    heads.into_iter().chain(rows).collect()
}

impl Subject {
    /// How many tests of this suite passed and failed in what a line is about; `None`: it has none of them.
    fn count(&self, test: &str, line: &Line) -> Option<(u32, u32)> {
        let filters = match self.tests_of(test) {
            Some(filters) => filters,
            None if self.is_alone(test) => &[],
            None => return None,
        };
        if filters.is_empty() || line.tests.is_empty() {
            // What did not even say how many failed is a failure, too.
            return Some(line.counts.map_or((0, 1), |[passed, failed, _]| {
                (passed, if line.passed { failed } else { failed.max(1) })
            }));
        }
        let ours = line.tests.iter().filter(|(name, _)| filters.iter().any(|f| name.contains(f)));
        sum(ours.map(|(_, ok)| if *ok { (1, 0) } else { (0, 1) }))
    }

    /// Whether a package's own tests are part of this.
    fn is_alone(&self, package: &str) -> bool {
        self.alone.iter().any(|(p, _)| *p == package)
    }
}

/// The sum of passed and failed; `None` if there is nothing.
fn sum(counts: impl Iterator<Item = (u32, u32)>) -> Option<(u32, u32)> {
    counts.reduce(|(p, f), (passed, failed)| (p + passed, f + failed))
}

/// Passed and failed for a reader.
fn shown(counts: Option<(u32, u32)>) -> String {
    match counts {
        None => "-".to_owned(),
        Some((passed, 0)) => passed.to_string(),
        Some((passed, failed)) => format!("{passed}, {failed} bad"),
    }
}

/// A column's width.
fn cell(text: &str) -> String {
    format!(" {text:>10}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_eight_and_no_other_name_will_do() {
        assert_eq!(SUBJECTS.len(), 8);
        let said = subject("htt").unwrap_err().to_string();
        assert!(SUBJECTS.iter().all(|s| said.contains(s.name)), "{said}");
        let of_kernel = subject("cgi").unwrap().tests_of("kernel").unwrap();
        assert!(of_kernel.contains(&"a_program_"), "{of_kernel:?}");
    }

    #[test]
    fn suite_and_name_go_together() {
        let choice =
            Choice { suite: Some(subject("lanes").unwrap()), only: Some("cha"), ..Choice::default() };
        assert_eq!(choice.tests_of("chaos"), Some(&[][..]));
        assert_eq!(choice.tests_of("lifecycle"), None, "of the suite, but not of the name");
        let choice = Choice { suite: Some(subject("http").unwrap()), only: Some("cha"), ..Choice::default() };
        assert_eq!(choice.tests_of("chaos"), None, "of the name, but not of the suite");
    }

    #[test]
    fn each_test_is_counted_in_the_suites_that_it_belongs_to() {
        let line = |test: &str, client: &str, mpm: &str, tests: &[(&str, bool)]| {
            let failed = u32::try_from(tests.iter().filter(|(_, ok)| !ok).count()).unwrap();
            Line {
                passed: failed == 0,
                counts: Some([u32::try_from(tests.len()).unwrap() - failed, failed, 0]),
                tests: tests.iter().map(|&(t, ok)| (t.to_owned(), ok)).collect(),
                of: Some(Of { test: test.into(), client: client.into(), mpm: mpm.into() }),
                ..Line::failed("x", 0.0)
            }
        };
        let never_came_up = Line {
            of: Some(Of { test: "stress".into(), client: "kafs".into(), mpm: "event".into() }),
            ..Line::failed("stress [kafs, event]", 0.0)
        };
        let lines = [
            never_came_up,
            line("lifecycle", "userspace", "event", &[("d11_x", true), ("y", true), ("z", false)]),
            line("http", "userspace", "event", &[("other_methods_and_handlers_x", true), ("y", true)]),
            line("afsweb-cache", NO_CLIENT, "", &[("a", true)]),
            line("dist", "userspace", "", &[("a", true)]),
        ];
        let rows: Vec<Vec<String>> = table(&lines, SUBJECTS)
            .iter()
            .map(|r| r.replace(", ", ",").split_whitespace().map(str::to_owned).collect())
            .collect();
        assert_eq!(
            rows,
            [
                &["none", "userspace", "userspace", "kafs"][..],
                &["any", "any", "event", "event", "all"],
                &["http", "-", "-", "2", "-", "2"],
                &["cache", "1", "-", "1", "-", "2"],
                &["cgi", "-", "-", "1", "-", "1"],
                &["lanes", "-", "-", "2,1", "bad", "-", "2,1", "bad"],
                &["performance", "-", "-", "-", "0,1", "bad", "0,1", "bad"],
            ]
        );
    }
}
