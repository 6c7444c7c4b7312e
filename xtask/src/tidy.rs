//! `cargo xtask tidy`: the rules of `docs/architecture.md` that a program can check.

use crate::{defects, directives, messages};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where unsafe code may live, besides tests.
const FENCES: &[&str] = &[
    "pag/src/sys/",
    "pag/uafs/",
    "mod-afs/src/httpd/",
    "mod-afs/httpd-sys/",
    "weblog/fds/",
    "weblog/src/kaserver/sys/",
    "weblog/src/krb5/sys.rs",
];

/// The page whose rules these are.
const DESIGN: &str = "docs/architecture.md";

/// Crates whose root must forbid unsafe code.
const FORBID: &[&str] = &[
    "cache/src/lib.rs",
    "weblog/proto/src/lib.rs",
    "weblog-starter/src/lib.rs",
    "tests/kaserver/src/lib.rs",
];

/// Checks the tree and lists every offence.
///
/// # Errors
/// If there is any, or the tree cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let files = tracked(root)?;
    let mut faults = Vec::new();
    arrows(root, &mut faults)?;
    for file in &files {
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        if file.ends_with(".rs") {
            unsafe_outside_fences(file, &text, &mut faults);
            unfinished(file, &text, &mut faults);
        }
        if file.ends_with(".md") {
            links(root, file, &text, &mut faults);
        }
        if text.contains(concat!("..", "/shared")) || text.contains(concat!("/wo", "rk/")) {
            faults.push(format!("{file}: names a path that is not part of the project"));
        }
    }
    for file in FORBID {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| (*file).to_owned())?;
        if !text.contains("#![forbid(unsafe_code)]") {
            faults.push(format!("{file}: must forbid unsafe code"));
        }
    }
    directives::check(root, &mut faults)?;
    defects::check(root, &mut faults)?;
    messages::check(root, &files, &mut faults)?;
    let changelog = std::fs::read_to_string(root.join("CHANGELOG.md"))?;
    if !changelog.contains("## Unreleased") {
        faults.push("CHANGELOG.md: has no section Unreleased".into());
    }
    if faults.is_empty() {
        println!("tidy: {} files, nothing to say", files.len());
        return Ok(());
    }
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    bail!("{} offences against docs/architecture.md", faults.len())
}

/// The files of the project: all that .gitignore does not leave out. git itself need not be there.
fn tracked(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let walk = ignore::WalkBuilder::new(root)
        .hidden(false)
        .require_git(false)
        .filter_entry(|e| e.file_name() != ".git")
        .build();
    for entry in walk {
        let entry = entry.context("files of the project")?;
        if entry.file_type().is_some_and(|t| t.is_file()) {
            let name = entry.path().strip_prefix(root)?.to_str().context("a name that is not UTF-8")?;
            files.push(name.to_owned());
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The rows of the page's table of crates: a crate, and the crates of ours that it may use.
///
/// Names are in backquotes; brackets around one only tell readers that it is a development dependency.
fn table_of_crates(page: &str) -> Vec<(String, BTreeSet<String>)> {
    let lines = page.lines().skip_while(|l| !l.starts_with("| crate |")).skip(2);
    lines
        .take_while(|l| l.starts_with('|'))
        .filter_map(|line| {
            let cells = cells(line);
            let quoted = |cell: &str| -> Vec<String> {
                cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
            };
            let name = quoted(cells.first()?).pop()?;
            Some((name, quoted(cells.last()?).into_iter().collect()))
        })
        .collect()
}

/// The cells of a row, without the blanks around them; `\|` is a stroke in a cell.
pub(crate) fn cells(row: &str) -> Vec<String> {
    let row = row.replace("\\|", "\0");
    let row = row.trim().trim_start_matches('|').trim_end_matches('|');
    row.split('|').map(|c| c.replace('\0', "|").trim().to_owned()).collect()
}

/// Each crate uses what the page's table lets it use, and each fence is named there.
fn arrows(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let page = std::fs::read_to_string(root.join(DESIGN)).context(DESIGN)?;
    for fence in FENCES {
        if !page.contains(&format!("`{fence}`")) {
            faults.push(format!("{DESIGN}: does not name the fence {fence}"));
        }
    }
    let table = table_of_crates(&page);
    let out = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    if !out.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    let meta: serde_json::Value = serde_json::from_slice(&out.stdout)?;
    let packages = meta
        .get("packages")
        .and_then(serde_json::Value::as_array)
        .context("cargo metadata has no packages")?;
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    for (name, _) in table.iter().filter(|(name, _)| !ours.contains(name.as_str())) {
        faults.push(format!("{DESIGN}: there is no crate {name}"));
    }
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = table.iter().find(|(n, _)| *n == name) else {
            faults.push(format!("{DESIGN}: the crate {name} is not in its table"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let used: BTreeSet<String> = dependencies
            .filter_map(|d| d["name"].as_str())
            .filter(|d| ours.contains(d))
            .map(str::to_owned)
            .collect();
        for dep in used.difference(allowed) {
            faults.push(format!("crate {name}: may not use {dep} ({DESIGN})"));
        }
        for dep in allowed.difference(&used) {
            faults.push(format!("{DESIGN}: crate {name} does not use {dep}"));
        }
    }
    Ok(())
}

/// Cuts line comments and the contents of string literals, well enough for the search of one word.
fn code_of(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => {
                chars.next();
            }
            '"' => in_string = !in_string,
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            _ if in_string => {}
            _ => out.push(c),
        }
    }
    out
}

fn unsafe_outside_fences(file: &str, text: &str, faults: &mut Vec<String>) {
    let in_fence = FENCES.iter().any(|f| file.starts_with(f));
    let in_tests = file.starts_with("tests/")
        || file.contains("/tests/")
        || file.contains("/fuzz/")
        || file.contains("/benches/");
    if in_fence || in_tests {
        return;
    }
    for (n, line) in text.lines().enumerate() {
        let code = code_of(line);
        let word = code
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .any(|w| w == "unsafe" || w == "unsafe_code");
        if word && !code.contains("forbid(unsafe_code)") && !code.contains("deny(unsafe_code)") {
            faults.push(format!("{file}:{}: unsafe code outside the fences", n + 1));
        }
    }
}

fn unfinished(file: &str, text: &str, faults: &mut Vec<String>) {
    let marks =
        [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME"), concat!("X", "XX ")];
    for (n, line) in text.lines().enumerate() {
        if marks.iter().any(|m| line.contains(m)) {
            faults.push(format!("{file}:{}: unfinished", n + 1));
        }
        if line.contains(concat!("#[ign", "ore]")) {
            faults.push(format!("{file}:{}: an ignored test says why", n + 1));
        }
    }
}

/// Relative links of a page must lead somewhere, to a heading if they name one.
fn links(root: &Path, file: &str, text: &str, faults: &mut Vec<String>) {
    let here = Path::new(file).parent().map(PathBuf::from).unwrap_or_default();
    for piece in text.split("](").skip(1) {
        let Some(target) = piece.split([')', ' ']).next() else { continue };
        if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (page, heading) = target.split_once('#').unwrap_or((target, ""));
        let path = root.join(&here).join(page);
        if !page.is_empty() && !path.exists() {
            faults.push(format!("{file}: link to {page} leads nowhere"));
        } else if !heading.is_empty() {
            let other = if page.is_empty() {
                text.to_owned()
            } else {
                std::fs::read_to_string(path).unwrap_or_default()
            };
            if !anchors(&other).any(|anchor| anchor == heading) {
                faults.push(format!("{file}: link to {target}: there is no such heading"));
            }
        }
    }
}

/// What links call the headings of a page: small letters, without marks, spaces as hyphens.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_unsafe_in_code_but_not_in_words() {
        let mut faults = Vec::new();
        unsafe_outside_fences(
            "weblog/src/a.rs",
            "let x = \"unsafe\"; // unsafe\nunsafe { f() }\n",
            &mut faults,
        );
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains(":2:"), "{faults:?}");
    }

    #[test]
    fn lets_the_fences_be() {
        let mut faults = Vec::new();
        unsafe_outside_fences("pag/src/sys/call.rs", "unsafe { f() }", &mut faults);
        assert!(faults.is_empty());
    }

    #[test]
    fn finds_dead_links() {
        let mut faults = Vec::new();
        links(Path::new("/nonexistent"), "docs/a.md", "[x](b.md) [y](https://example.com/)", &mut faults);
        assert_eq!(faults.len(), 1, "{faults:?}");
        let page = "# One page\n## What's `x`, then?\n[a](#whats-x-then) [b](#what) [c](#one-page)\n";
        faults.clear();
        links(Path::new("/nonexistent"), "docs/a.md", page, &mut faults);
        assert!(matches!(faults.as_slice(), [one] if one.contains("#what:")), "{faults:?}");
    }

    #[test]
    fn reads_the_table_of_crates() {
        let page = "x\n| crate | what | may use |\n|---|---|---|\n| `a` | `dir` things | |\n| `b` | | `a` (`c`) |\n\n| `d` | | |\n";
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(table_of_crates(page), [("a".to_owned(), set(&[])), ("b".to_owned(), set(&["a", "c"]))]);
    }

    #[test]
    fn a_stroke_in_a_cell_is_escaped() {
        assert_eq!(cells("| a | b\\|\"c\\|d\" | | e |"), ["a", "b|\"c|d\"", "", "e"]);
    }
}
