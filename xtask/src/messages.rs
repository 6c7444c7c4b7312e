//! What the programs write to error logs: an id for each message, once in the code, with a row of `docs/messages.md`.

use crate::tidy::cells;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The page.
const PAGE: &str = "docs/messages.md";
/// The tables of messages, the code that writes them, and what their ids begin with.
const TABLES: [Table; 4] = [
    Table { file: "mod-afs/src/message.rs", code: "mod-afs/src/", prefix: "AFS0" },
    Table { file: "pag/src/message.rs", code: "pag/src/", prefix: "AFS1" },
    Table { file: "weblog/src/message.rs", code: "weblog/src/", prefix: "AFS2" },
    Table { file: "weblog-starter/src/message.rs", code: "weblog-starter/src/", prefix: "AFS3" },
];
/// What writes to a log by itself; each of them must be given a message.
const WRITERS: [&str; 5] = ["error!(", "warn!(", "info!(", "debug!(", "trace!("];

/// One table.
#[derive(Debug, Clone, Copy)]
struct Table {
    file: &'static str,
    code: &'static str,
    prefix: &'static str,
}

/// An entry of a table: the name of its constant, its id and level.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    id: String,
    level: String,
}

/// Tables, code and page say the same of all messages. `files`: those of the project.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn check(root: &Path, files: &[String], faults: &mut Vec<String>) -> Result<()> {
    let mut texts = BTreeMap::new();
    let is_code = |f: &str| f.ends_with(".rs") && TABLES.iter().any(|t| f.starts_with(t.code)) && !is_test(f);
    let is_looked_at = |f: &&String| f.ends_with(".md") || is_code(f);
    for file in files.iter().filter(is_looked_at) {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| file.clone())?;
        texts.insert(file.clone(), text);
    }
    faults.extend(findings(&TABLES, &texts));
    Ok(())
}

/// What is wrong; `texts`: pages and code by their names.
fn findings(tables: &[Table], texts: &BTreeMap<String, String>) -> Vec<String> {
    let mut out = Vec::new();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for table in tables {
        let Some(text) = texts.get(table.file) else {
            out.push(format!("{}: is not there", table.file));
            continue;
        };
        let entries = entries(text);
        if entries.is_empty() {
            out.push(format!("{}: no message was found there", table.file));
        }
        let mut before = String::new();
        for Entry { name, id, level } in entries {
            if ids(&id) != [id.as_str()] || !id.starts_with(table.prefix) {
                out.push(format!("{}: {name}: {id} is not {} and three digits", table.file, table.prefix));
            }
            if id <= before {
                out.push(format!("{}: {name}: {id} stands behind {before}", table.file));
            }
            let used = format!("message::{name}");
            let is_used = |(file, text): (&String, &String)| {
                file.starts_with(table.code) && file != table.file && words_have(code_of(text), &used)
            };
            if !texts.iter().any(is_used) {
                out.push(format!("{}: nothing writes {name}, {id}", table.file));
            }
            before.clone_from(&id);
            known.insert(id, level);
        }
    }
    let rows = texts.get(PAGE).map(|page| rows(page)).unwrap_or_default();
    for (id, level) in &known {
        match rows.iter().filter(|row| row.first() == Some(id)).collect::<Vec<_>>()[..] {
            [row] if row.len() != 5 => out.push(format!("{PAGE}: {id} has {} columns, not 5", row.len())),
            [row] if row.get(1) != Some(level) => {
                let said = row.get(1).map_or("", String::as_str);
                out.push(format!("{PAGE}: {id} is of level {level}, not {said}"));
            }
            [row] if row.iter().any(String::is_empty) => {
                out.push(format!("{PAGE}: {id} lacks its line, what it means, or what to do"));
            }
            [_] => {}
            [] => out.push(format!("{PAGE}: {id} has no row")),
            [..] => out.push(format!("{PAGE}: {id} has more than one row")),
        }
    }
    for (file, text) in texts {
        let is_table = tables.iter().any(|t| t.file == file);
        for id in ids(text).into_iter().filter(|_| file.ends_with(".md")) {
            if !known.contains_key(id) {
                out.push(format!("{file}: speaks of {id}, which nothing writes"));
            }
        }
        if !is_table && file.ends_with(".rs") {
            out.extend(
                ids(code_of(text)).into_iter().map(|id| format!("{file}: {id} belongs into the table alone")),
            );
            out.extend(
                without_message(code_of(text))
                    .into_iter()
                    .map(|call| format!("{file}: what is logged here has no message of the table: {call}")),
            );
        }
    }
    out
}

/// Is it a file of tests?
fn is_test(file: &str) -> bool {
    file.contains("/tests/") || file.ends_with("/tests.rs") || file.ends_with("_tests.rs")
}

/// The code of a file, without its tests.
fn code_of(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// The entries of a table, in its order.
fn entries(text: &str) -> Vec<Entry> {
    let statements = code_of(text).split("const ").skip(1).filter_map(|s| s.split_once(';'));
    statements
        .filter_map(|(statement, _)| {
            let (name, rest) = statement.split_once(':')?;
            let (_, rest) = rest.split_once("Message::new(")?;
            let mut arguments = rest.split([',', ')']).map(str::trim);
            let id = arguments.next()?.trim_matches('"');
            let level = arguments.next()?.rsplit("::").next()?.to_lowercase();
            let level = if level == "warning" { "warn".to_owned() } else { level };
            Some(Entry { name: name.trim().to_owned(), id: id.to_owned(), level })
        })
        .collect()
}

/// The rows of the page's tables of messages.
fn rows(page: &str) -> Vec<Vec<String>> {
    page.lines().filter(|l| l.starts_with("| AFS")).map(cells).collect()
}

/// All ids in a text: `AFS` and four digits, no letter or digit beside them.
fn ids(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c: char| !is_part(c))
        .filter(|w| {
            w.strip_prefix("AFS").is_some_and(|n| n.len() == 4 && n.bytes().all(|b| b.is_ascii_digit()))
        })
        .collect()
}

/// Does `text` have `name` with nothing behind it that would make it another name?
fn words_have(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name)
        .any(|(at, _)| !text.get(at + name.len()..).and_then(|t| t.chars().next()).is_some_and(is_part))
}

/// The calls that write to a log without a message, up to the end of their line.
fn without_message(code: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for writer in WRITERS {
        for (at, _) in code.match_indices(writer) {
            let before = code.get(..at).and_then(|t| t.chars().next_back());
            let call = code.get(at..).and_then(|t| t.split(");").next()).unwrap_or_default();
            let other = before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
            if !other && !["message::", "message."].iter().any(|m| call.contains(m)) {
                out.push(call.lines().next().unwrap_or_default());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Table; 1] = [Table { file: "a/src/message.rs", code: "a/src/", prefix: "AFS0" }];
    const MESSAGES: &str = "/// One.\npub const ONE: Message = Message::new(\"AFS0101\", Level::Warning);\n\
                            /// Two.\npub const TWO: Message =\n    Message::new(\"AFS0102\", Level::Error);\n";
    const CODE: &str = "log(message::ONE, x);\nerror!(id = message::TWO.id, \"x\");\n\
                        #[cfg(test)]\nmod tests {\nlog(\"AFS0999\"); error!(\"x\");\n";
    const ROWS: &str = "| id | level |\n|---|---|\n| AFS0101 | warn | `x` | y | z |\n\
                        | AFS0102 | error | `x` | y, AFS0101 | z |\n";

    fn of(messages: &str, code: &str, page: &str) -> Vec<String> {
        let texts = [("a/src/message.rs", messages), ("a/src/lib.rs", code), (PAGE, page)];
        findings(&TABLE, &texts.map(|(file, text)| (file.to_owned(), text.to_owned())).into())
    }

    #[test]
    fn a_table_whose_messages_are_written_and_explained_is_right() {
        assert_eq!(of(MESSAGES, CODE, ROWS), Vec::<String>::new());
        let two = &entries(MESSAGES)[1];
        assert_eq!((two.name.as_str(), two.id.as_str(), two.level.as_str()), ("TWO", "AFS0102", "error"));
    }

    #[test]
    fn what_is_missing_doubled_or_not_the_same_is_told() {
        let changed = |text: &str, from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        };
        for (found, want) in [
            (of("", CODE, ROWS), "no message was found"),
            (of(&changed(MESSAGES, "AFS0102", "AFS0101"), CODE, ROWS), "AFS0101 stands behind AFS0101"),
            (of(&changed(MESSAGES, "AFS0101", "AFS1101"), CODE, ROWS), "is not AFS0 and three digits"),
            (of(&changed(MESSAGES, "AFS0101", "AFS01"), CODE, ROWS), "is not AFS0 and three digits"),
            (
                of(MESSAGES, &changed(CODE, "message::ONE", "message::ONES"), ROWS),
                "nothing writes ONE, AFS0101",
            ),
            (
                of(MESSAGES, &changed(CODE, "message::TWO", "message::ONE"), ROWS),
                "nothing writes TWO, AFS0102",
            ),
            (
                of(MESSAGES, &changed(CODE, "(message::ONE", "(\"AFS0101\", message::ONE"), ROWS),
                "the table alone",
            ),
            (
                of(MESSAGES, &format!("info!(\"a message\");{CODE}"), ROWS),
                "has no message of the table: info!(\"a message\"",
            ),
            (of(MESSAGES, CODE, ""), "AFS0102 has no row"),
            (of(MESSAGES, CODE, &changed(ROWS, "| AFS0102", "| AFS0101")), "AFS0101 has more than one row"),
            (of(MESSAGES, CODE, &changed(ROWS, "| AFS0102", "| AFS0109")), "speaks of AFS0109"),
            (of(MESSAGES, CODE, &changed(ROWS, "warn", "error")), "AFS0101 is of level warn, not error"),
            (of(MESSAGES, CODE, &changed(ROWS, "| y | z", "| y |")), "AFS0101 lacks its line"),
            (of(MESSAGES, CODE, &changed(ROWS, "| y | z |", "| y |")), "has 4 columns"),
        ] {
            assert!(found.iter().any(|f| f.contains(want)), "{found:?} lack {want:?}");
        }
    }

    #[test]
    fn ids_are_words_of_their_own() {
        assert_eq!(ids("AFS0101: x AFS01 (AFS0102) MAFS0103 AFS01034 AFS_0105"), ["AFS0101", "AFS0102"]);
        assert!(words_have("message::ONE)", "message::ONE") && !words_have("message::ONE_A", "message::ONE"));
    }
}
