//! `cargo xtask tidy`: the rules of `docs/architecture.md` that a program can check.

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
    "weblog/src/kaserver/sys.rs",
];

/// Crates of ours that a crate may use (`docs/architecture.md`, "Crates"). Development dependencies count as well.
const ARROWS: &[(&str, &[&str])] = &[
    ("afsweb-cache", &[]),
    ("httpd-sys", &[]),
    ("pag", &["kaserver"]),
    ("uafs", &[]),
    ("weblog-fds", &[]),
    ("weblog-proto", &["pag", "weblog-fds"]),
    ("weblog", &["weblog-proto", "weblog-fds", "afsweb-cache", "pag", "kaserver"]),
    ("weblog-starter", &["weblog-fds"]),
    ("mod-afs", &["httpd-sys", "weblog-proto", "weblog-fds", "afsweb-cache", "pag"]),
    ("kaserver", &[]),
    ("integration", &["weblog-proto", "weblog-fds", "pag", "kaserver"]),
    ("xtask", &["integration"]),
];

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
    directives(root, &mut faults)?;
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

/// The files that git tracks, or would if asked.
fn tracked(root: &Path) -> Result<Vec<String>> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git ls-files")?;
    if !out.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    let mut files: Vec<String> = String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect();
    files.retain(|f| root.join(f).is_file());
    Ok(files)
}

fn arrows(root: &Path, faults: &mut Vec<String>) -> Result<()> {
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
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(n, _)| *n == name) else {
            faults.push(format!("crate {name}: not in the table of docs/architecture.md"));
            continue;
        };
        for dep in package["dependencies"].as_array().into_iter().flatten() {
            let dep = dep["name"].as_str().unwrap_or_default();
            if ours.contains(dep) && !allowed.contains(&dep) {
                faults.push(format!("crate {name}: may not use {dep}"));
            }
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

/// Relative links of a page must lead somewhere.
fn links(root: &Path, file: &str, text: &str, faults: &mut Vec<String>) {
    let here = Path::new(file).parent().map(PathBuf::from).unwrap_or_default();
    for piece in text.split("](").skip(1) {
        let Some(target) = piece.split([')', '#', ' ']).next() else { continue };
        if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        if !root.join(&here).join(target).exists() {
            faults.push(format!("{file}: link to {target} leads nowhere"));
        }
    }
}

/// Every directive of the module's table stands in the administrator's page, and the other way round.
fn directives(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let code = std::fs::read_to_string(root.join("mod-afs/src/directives.rs"))
        .context("mod-afs/src/directives.rs")?;
    let page = std::fs::read_to_string(root.join("docs/admin.md")).context("docs/admin.md")?;
    let names = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|w| {
                (w.starts_with("SetAFS") || w.starts_with("AFS"))
                    && w.len() > 6
                    && w.chars().any(char::is_lowercase)
            })
            .map(str::to_owned)
            .collect()
    };
    let in_table: BTreeSet<String> = code
        .split('"')
        .filter(|w| w.chars().all(char::is_alphanumeric))
        .flat_map(|w| names(w).into_iter())
        .collect();
    let on_page = names(&page);
    for name in in_table.difference(&on_page) {
        faults.push(format!("docs/admin.md: does not describe {name}"));
    }
    for name in on_page.difference(&in_table) {
        faults.push(format!("docs/admin.md: describes {name}, which the module does not know"));
    }
    Ok(())
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
    }
}
