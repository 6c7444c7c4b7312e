//! Checks of `docs/defects.md`: each defect of the original once, and what it names exists.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The page.
const PAGE: &str = "docs/defects.md";
/// How many defects there are.
const COUNT: u32 = 67;
/// What introduces an item of a file that can be named.
const KINDS: [&str; 7] = ["fn", "struct", "enum", "const", "static", "trait", "type"];

/// An entry of the page.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    /// Its number.
    number: u32,
    /// 1 to 3.
    severity: u32,
    /// The lines below its heading.
    lines: Vec<String>,
}

/// Looks through the page and all that it names.
///
/// # Errors
/// The page cannot be read.
pub(crate) fn check(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let page = std::fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let read = |file: &str| std::fs::read_to_string(root.join(file)).ok();
    faults.extend(findings(&page, read).into_iter().map(|fault| format!("{PAGE}: {fault}")));
    Ok(())
}

/// What is wrong with the page; `read` gives the text of a file, if there is one.
fn findings(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut out = Vec::new();
    let mut files: BTreeMap<String, Option<String>> = BTreeMap::new();
    let entries = entries(page);
    for number in 1..=COUNT {
        let named = page.split(|c: char| !c.is_alphanumeric()).filter(|w| *w == format!("D{number}")).count();
        if named != 1 || !entries.iter().any(|e| e.number == number) {
            out.push(format!("names D{number} {named} times, instead of once, in a heading of its own"));
        }
    }
    for entry in &entries {
        let here = format!("D{}", entry.number);
        if entry.number == 0 || entry.number > COUNT || !(1..=3).contains(&entry.severity) {
            out.push(format!("{here}, S{} is none of the {COUNT} defects", entry.severity));
        }
        for part in ["Then: ", "Here: ", "Tests: "] {
            if !entry.lines.iter().any(|l| l.starts_with(part)) {
                out.push(format!("{here} has no line '{part}'"));
            }
        }
        let mut numbered = entry.lines.iter().any(|l| l.starts_with("No test with its number: "));
        for line in &entry.lines {
            for name in line.split('`').skip(1).step_by(2).filter(|n| n.contains(".rs")) {
                let (file, item) = name.split_once("::").map_or((name, None), |(f, i)| (f, Some(i)));
                let text = files.entry(file.to_owned()).or_insert_with(|| read(file));
                let found = match (text, item) {
                    (None, _) => false,
                    (Some(text), Some(item)) if line.starts_with("Tests: ") => is_test(text, item),
                    (Some(text), Some(item)) => is_item(text, item),
                    (Some(_), None) => !line.starts_with("Tests: "),
                };
                if !found {
                    out.push(format!("{here} names {name}, which does not exist there"));
                }
                let own = format!("d{}", entry.number);
                let in_front = item.into_iter().flat_map(|i| i.split('_')).take_while(|w| is_number(w));
                numbered |= line.starts_with("Tests: ") && in_front.into_iter().any(|w| w == own);
            }
        }
        if entry.severity == 1 && !numbered {
            out.push(format!(
                "{here} is S1 and has neither a test 'd{}_...' nor a reason for that",
                entry.number
            ));
        }
    }
    out
}

/// A word such as `d7`, in front of the name of a test.
fn is_number(word: &str) -> bool {
    word.strip_prefix('d').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// The entries of the page, in its order.
fn entries(page: &str) -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with('#') {
            let heading = line.strip_prefix("### D").and_then(|h| h.split_once(": "));
            let numbers = heading.and_then(|(h, _)| h.split_once(", S"));
            let numbers = numbers.and_then(|(n, s)| Some((n.parse().ok()?, s.parse().ok()?)));
            inside = numbers.is_some();
            out.extend(numbers.map(|(number, severity)| Entry { number, severity, lines: Vec::new() }));
        } else if let Some(entry) = out.last_mut().filter(|_| inside) {
            entry.lines.push(line.to_owned());
        }
    }
    out
}

/// Is there a test of that name in a file? Those that have a main of their own name their tests in a table.
fn is_test(text: &str, name: &str) -> bool {
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            marked = true;
        } else if line.contains("fn ") {
            if marked && line.contains(&format!("fn {name}(")) {
                return true;
            }
            marked = false;
        }
    }
    text.contains("fn main() -> ExitCode")
        && text
            .lines()
            .map(str::trim)
            .any(|l| l.starts_with(&format!("(\"{name}\",")) || l == format!("\"{name}\","))
}

/// Is there an item of that name in a file?
fn is_item(text: &str, name: &str) -> bool {
    KINDS.iter().any(|kind| {
        let words = format!("{kind} {name}");
        text.match_indices(&words).any(|(at, _)| {
            let before = text.get(..at).and_then(|t| t.chars().next_back());
            let behind = text.get(at + words.len()..).and_then(|t| t.chars().next());
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            !before.is_some_and(is_part) && !behind.is_some_and(is_part)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/// x\nfn helper() {}\npub(crate) struct Thing;\n#[test]\n#[ignore = \"x\"]\nfn d1_works() {}\n\
                        fn d1_not() {}\n";

    /// A page with all defects; the first one is as given.
    fn page(first: &str) -> String {
        let rest = (2..=COUNT).map(|n| format!("### D{n}, S3: x\nThen: x\nHere: x\nTests: none\n"));
        format!("# x\n{first}\n{}", rest.collect::<String>())
    }

    fn of(first: &str) -> Vec<String> {
        findings(&page(first), |file| (file == "a.rs").then(|| FILE.to_owned()))
    }

    #[test]
    fn a_page_that_names_what_there_is_is_right() {
        let first = "### D1, S1: x\nThen: x\nHere: `a.rs::Thing`, `a.rs`\nTests: `a.rs::d1_works`";
        assert_eq!(of(first), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_doubled_or_not_there_is_told() {
        let good = "### D1, S1: x\nThen: x\nHere: x\nTests: `a.rs::d1_works`";
        for (first, want) in [
            (good.replace("### D1,", "## D1,"), "names D1 "),
            (format!("{good}\n### D2, S1: x"), "names D2 2 times"),
            (format!("{good} as D7"), "names D7 2 times"),
            (good.replace("S1", "S4"), "none of the"),
            (good.replace("Here: x\n", ""), "no line 'Here: '"),
            (good.replace("d1_works", "d1_not"), "does not exist there"),
            (good.replace("d1_works", "d1_no_such"), "does not exist there"),
            (good.replace("Here: x", "Here: `a.rs::Other`"), "a.rs::Other"),
            (good.replace("Here: x", "Here: `a.rs::Thin`"), "a.rs::Thin"),
            (good.replace("Here: x", "Here: `b.rs`"), "names b.rs"),
            (good.replace("`a.rs::d1_works`", "none"), "neither a test 'd1_...'"),
        ] {
            let found = of(&first);
            assert!(found.iter().any(|f| f.contains(want)), "{first}: {found:?} lack {want:?}");
        }
        let reason = good.replace("Tests: `a.rs::d1_works`", "No test with its number: x\nTests: none");
        assert_eq!(of(&reason), Vec::<String>::new());
    }

    #[test]
    fn tests_are_told_from_other_functions() {
        assert!(is_test(FILE, "d1_works") && !is_test(FILE, "d1_not") && !is_test(FILE, "helper"));
        let main = "fn main() -> ExitCode {\n    (\"a_thing\", a),\n    (\n        \"another\",\n";
        assert!(is_test(main, "a_thing") && is_test(main, "another") && !is_test(main, "thing"));
        assert!(is_number("d13") && !is_number("deep") && !is_number("d") && !is_number("x1"));
    }
}
