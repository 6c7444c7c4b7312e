//! The directives: one table in the module, one page, `docs/directives.md`, and what `cargo xtask man` makes of it.

use crate::tidy::cells;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

/// The module's table.
const TABLE: &str = "mod-afs/src/directives.rs";
/// The page.
const PAGE: &str = "docs/directives.md";
/// The module's page of the manual.
const MANUAL: &str = "docs/man/mod_afs.8";
/// Other pages that speak of directives.
const OTHERS: [&str; 4] = ["README.md", "docs/admin.md", "docs/architecture.md", "docs/defects.md"];
/// The page's section of what the original had.
const ORIGINAL: &str = "The original's";
/// What the written part of the manual stands between.
const FROM: &str = ".SH DIRECTIVES\n";
/// See [`FROM`].
const TO: &str = ".SH STATUS\n";

/// A directive, as the module's table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Directive {
    name: String,
    /// Arguments, unit, default, where it may stand, how it is merged, what applies a change: as the page says it.
    row: [String; 6],
}

/// `cargo xtask man`: writes the directives of the page into the manual.
///
/// # Errors
/// The page cannot be written as one of the manual.
pub(crate) fn main(root: &Path) -> Result<ExitCode> {
    let read = |file: &str| std::fs::read_to_string(root.join(file)).with_context(|| file.to_owned());
    let (code, page, manual) = (read(TABLE)?, read(PAGE)?, read(MANUAL)?);
    let new = with_section(&manual, &section(&page, &known(&code))?)?;
    if new != manual {
        std::fs::write(root.join(MANUAL), new).context(MANUAL)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Module, page and manual say the same of all directives, and other pages speak of no others.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn check(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let read = |file: &str| std::fs::read_to_string(root.join(file)).with_context(|| file.to_owned());
    let (code, page, manual) = (read(TABLE)?, read(PAGE)?, read(MANUAL)?);
    let known = known(&code);
    if known.is_empty() {
        faults.push(format!("{TABLE}: no directive was found there"));
    }
    faults.extend(differences(&known, &page).into_iter().map(|f| format!("{PAGE}: {f}")));
    match section(&page, &known).and_then(|section| with_section(&manual, &section)) {
        Ok(new) if new != manual => {
            faults.push(format!("{MANUAL}: is not what {PAGE} says; run `cargo xtask man`"));
        }
        Ok(_) => {}
        Err(why) => faults.push(format!("{PAGE}: {why:#}")),
    }
    let others = OTHERS.iter().map(|file| Ok((*file, read(file)?))).collect::<Result<Vec<_>>>()?;
    let texts = others.iter().map(|(f, t)| (*f, t)).chain([(PAGE, &page), (MANUAL, &manual)]);
    for (file, text) in texts {
        for name in names(text).into_iter().filter(|n| known.iter().all(|d| d.name != *n)) {
            faults.push(format!("{file}: speaks of {name}, which the module does not know"));
        }
    }
    Ok(())
}

/// What stands between two texts.
fn between<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(behind).map(|(found, _)| found)
}

/// The directives of the module's table.
fn known(code: &str) -> Vec<Directive> {
    let table = code.split("const DIRECTIVES:").nth(1).unwrap_or_default();
    let table = table.split("#[cfg(test)]").next().unwrap_or_default();
    let plain = |text: &str| text.replace("\\\"", "\"");
    table
        .split("Directive {")
        .skip(1)
        .filter_map(|entry| {
            let scope = between(entry, "scope: Scope::", ",")?;
            let place = match scope {
                "Global" => "main server",
                "Server" => "virtual host",
                "Identity" => "Location",
                "Section" => "any section",
                _ => "everywhere",
            };
            let merge = match scope {
                // Its lines are collected.
                "Global" if entry.contains(".get_or_insert_default()") => "adds up",
                "Global" => "one for all",
                _ => "inner replaces outer",
            };
            let takes =
                if between(entry, "takes: Takes::", ",")? == "Graceful" { "graceful" } else { "full" };
            let arguments = plain(between(entry, "syntax: \"", "\",\n")?);
            Some(Directive {
                name: between(entry, "name: c\"", "\"")?.to_owned(),
                row: [
                    arguments.clone(),
                    unit(&arguments, entry),
                    plain(between(entry, "default: \"", "\",\n")?),
                    place.to_owned(),
                    merge.to_owned(),
                    takes.to_owned(),
                ],
            })
        })
        .collect()
}

/// What the numbers of a directive count, by its arguments and by what reads them; empty if they are none.
fn unit(arguments: &str, entry: &str) -> String {
    let by_name = arguments.split(' ').filter_map(|word| match word {
        "SECONDS" => Some("seconds"),
        "PER-USER" | "PER-ADDRESS" => Some("failed logins"),
        _ => None,
    });
    let read_as = between(entry, "\"a number of ", "\"").filter(|_| entry.contains("number("));
    let level = entry.contains("\"a level\"").then_some("level");
    let bytes = entry.contains("size(").then_some("bytes");
    let mut units: Vec<&str> = Vec::new();
    for unit in by_name.chain(read_as).chain(level).chain(bytes) {
        if !units.contains(&unit) {
            units.push(unit);
        }
    }
    units.join(", ")
}

/// The rows of the page's first table.
fn rows(page: &str) -> Vec<Vec<String>> {
    let lines = page.lines().skip_while(|l| !l.starts_with("| directive |")).skip(2);
    lines.take_while(|l| l.starts_with('|')).map(cells).collect()
}

/// The page's sections: title and lines.
fn sections(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut out: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            out.push((title, Vec::new()));
        } else if let Some((_, lines)) = out.last_mut() {
            lines.push(line);
        }
    }
    out
}

/// In what the page differs from the module.
fn differences(known: &[Directive], page: &str) -> Vec<String> {
    let mut out = Vec::new();
    let rows = rows(page);
    let sections = sections(page);
    for directive in known {
        let Directive { name, row } = directive;
        let found: Vec<&Vec<String>> = rows.iter().filter(|r| r.first() == Some(name)).collect();
        if !matches!(found.as_slice(), [one] if one.get(1..) == Some(row.as_slice())) {
            let row =
                row.iter().map(|c| c.replace('|', "\\|")).map(|c| if c.is_empty() { c } else { c + " " });
            let row: String = row.map(|c| format!("| {c}")).collect();
            out.push(format!("lacks the row | {name} {row}|"));
        }
        if sections.iter().filter(|(title, _)| title == name).count() != 1 {
            out.push(format!("has not one section {name}"));
        }
    }
    let order: Vec<&str> = known.iter().map(|d| d.name.as_str()).collect();
    let in_table: Vec<&str> = rows.iter().filter_map(|r| r.first()).map(String::as_str).collect();
    let in_sections: Vec<&str> =
        sections.iter().map(|(title, _)| *title).filter(|t| order.contains(t)).collect();
    for (what, seen) in [("table", in_table), ("sections", in_sections)] {
        if out.is_empty() && seen != order {
            out.push(format!("its {what} are not in the order of {TABLE}"));
        }
    }
    out
}

/// Words of a text that are names of directives.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| {
            (w.starts_with("SetAFS") || w.starts_with("AFS"))
                && w.len() > 6
                && w.chars().any(char::is_lowercase)
        })
        .collect()
}

/// The manual with another part on directives.
///
/// # Errors
/// It has no such part.
fn with_section(manual: &str, section: &str) -> Result<String> {
    let parts = manual.split_once(FROM).and_then(|(before, rest)| Some((before, rest.split_once(TO)?.1)));
    let Some((before, behind)) = parts else { bail!("{MANUAL} has no part from {FROM:?} to {TO:?}") };
    Ok([before, FROM, section, TO, behind].concat())
}

/// The page as a part of the manual.
///
/// # Errors
/// The page has something that cannot be written there.
fn section(page: &str, known: &[Directive]) -> Result<String> {
    let sections = sections(page);
    let intro = page.lines().skip_while(|l| l.starts_with("# ") || l.is_empty());
    let intro: Vec<&str> = intro.take_while(|l| !l.starts_with('|')).collect();
    let mut out = String::new();
    write_text(&intro, ".PP", &mut out)?;
    for Directive { name, row: [arguments, unit, default, place, merge, takes] } in known {
        let (_, lines) =
            sections.iter().find(|(title, _)| title == name).with_context(|| format!("no section {name}"))?;
        let arguments = escape(arguments, true).replace('"', "\\(dq");
        out.push_str(&format!(".TP\n.BI {name} \" {arguments}\"\n"));
        write_text(lines, ".IP", &mut out).with_context(|| format!("section {name}"))?;
        out.push_str(".br\n");
        if !unit.is_empty() {
            out.push_str(&format!("Unit: {unit}.\n"));
        }
        out.push_str(&format!("Default: {}.\n", escape(default, true)));
        out.push_str(&format!(
            "Where: {}.\n",
            match place.as_str() {
                "main server" => "main server only",
                "virtual host" => "main server, virtual host",
                "Location" => "main server, virtual host, Location",
                "any section" => "everywhere but in access files",
                _ => "everywhere, also in Directory and access files",
            }
        ));
        out.push_str(match merge.as_str() {
            "adds up" => "All lines count.\n",
            "one for all" => "One value for all servers.\n",
            _ => "The inner value replaces the outer one.\n",
        });
        out.push_str(match takes.as_str() {
            "graceful" => "A change counts after a reload.\n",
            _ => "A change counts after a stop and start.\n",
        });
    }
    write_original(&sections, known, &mut out)?;
    Ok(out)
}

/// The original's directives, behind our own: what each was, and what has become of it.
///
/// # Errors
/// There is none, or one that the module does not know.
fn write_original(sections: &[(&str, Vec<&str>)], known: &[Directive], out: &mut String) -> Result<()> {
    let (_, lines) = sections
        .iter()
        .find(|(title, _)| *title == ORIGINAL)
        .with_context(|| format!("no section {ORIGINAL}"))?;
    let is_row = |line: &&str| line.starts_with('|');
    let intro: Vec<&str> = lines.iter().copied().take_while(|l| !is_row(l)).collect();
    let rows = lines.iter().copied().filter(is_row).skip(2);
    let behind: Vec<&str> = lines.iter().copied().skip(intro.len()).skip_while(is_row).collect();
    out.push_str(&format!(".SS {ORIGINAL}\n"));
    write_text(&intro, ".PP", out)?;
    let mut count = 0;
    for row in rows {
        let row = cells(row);
        let [name, arguments, unit, default, place, _, here] = row.as_slice() else {
            bail!("section {ORIGINAL}: not seven cells: {row:?}");
        };
        if known.iter().all(|d| d.name != *name) {
            bail!("section {ORIGINAL}: {name} is none that the module knows");
        }
        count += 1;
        out.push_str(&format!(".TP\n.BI {name} \" {}\"\n", escape(arguments, true)));
        out.push_str(&format!("There: {place}; default {}", roff(default)));
        out.push_str(&if unit.is_empty() { ".\n".to_owned() } else { format!("; {unit}.\n") });
        out.push_str(&format!("Here: {}.\n", roff(here)));
    }
    if count == 0 {
        bail!("section {ORIGINAL} has no table");
    }
    out.push_str(".PP\n");
    write_text(&behind.into_iter().skip_while(|l| l.is_empty()).collect::<Vec<_>>(), ".PP", out)
}

/// Lines of Markdown as lines of the manual: paragraphs (`.PP` or `.IP` between them), lists, blocks of code.
///
/// # Errors
/// A table or a heading.
fn write_text(lines: &[&str], paragraph: &str, out: &mut String) -> Result<()> {
    let last = lines.iter().rposition(|l| !l.is_empty()).map_or(0, |at| at + 1);
    let mut code = false;
    for line in lines.iter().take(last) {
        if line.starts_with("```") {
            out.push_str(if code { ".fi\n" } else { ".nf\n" });
            code = !code;
        } else if code {
            out.push_str(&guarded(&escape(line, true)));
        } else if line.is_empty() {
            out.push_str(&format!("{paragraph}\n"));
        } else if line.starts_with('|') || line.starts_with('#') {
            bail!("the manual has no way to say {line:?}");
        } else if let Some(item) = line.strip_prefix("- ") {
            out.push_str(&format!(".br\n\\(bu {}\n", roff(item)));
        } else {
            out.push_str(&guarded(&roff(line.trim_start())));
        }
    }
    if code {
        bail!("a block of code has no end");
    }
    Ok(())
}

/// A line that is never taken for a request.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}\n") } else { format!("{line}\n") }
}

/// Characters that mean something there; `exact`: hyphens are to be typed as they are.
fn escape(text: &str, exact: bool) -> String {
    let text = text.replace('\\', "\\e");
    if exact { text.replace('-', "\\-") } else { text }
}

/// Code becomes bold, emphasis italic, a link its text.
fn roff(line: &str) -> String {
    let mut out = String::new();
    for (i, piece) in line.split('`').enumerate() {
        if i % 2 == 1 {
            out.push_str(&format!("\\fB{}\\fR", escape(piece, true)));
            continue;
        }
        let mut rest = piece;
        let mut plain = String::new();
        // [text](target)
        while let Some((before, (text, behind))) = rest.split_once('[').and_then(|(before, link)| {
            let (text, target) = link.split_once("](")?;
            Some((before, (text, target.split_once(')')?.1)))
        }) {
            plain.push_str(before);
            plain.push_str(text);
            rest = behind;
        }
        plain.push_str(rest);
        for (i, word) in escape(&plain, false).split('*').enumerate() {
            out.push_str(&if i % 2 == 1 { format!("\\fI{word}\\fR") } else { word.to_owned() });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = r##"pub const DIRECTIVES: &[Directive] = &[
    Directive {
        name: c"SetAFSAccessLog",
        syntax: "FILE|\"|PROGRAM\"",
        scope: Scope::Server,
        takes: Takes::Graceful,
        default: "none",
    },
    Directive {
        name: c"SetAFSLoginDeadline",
        syntax: "SECONDS",
        scope: Scope::Global,
        takes: Takes::FullRestart,
        default: "20",
        apply: Apply::Server(|c, w| number(one(w), 1, 300, "a number of seconds").map(|v| c.x = Some(v))),
    },
];
#[cfg(test)]"##;

    const PAGE: &str = "# Directives\n\nWords.\n\n| directive | a | u | d | w | m | r |\n|---|---|---|---|---|---|---|\n\
        | SetAFSAccessLog | FILE\\|\"\\|PROGRAM\" | | none | virtual host | inner replaces outer | graceful |\n\
        | SetAFSLoginDeadline | SECONDS | seconds | 20 | main server | one for all | full |\n\n\
        ## SetAFSAccessLog\n`/a-b` or *both*, see [there](x.md#y).\n\n.not a request\n- one\n\n\
        ## SetAFSLoginDeadline\nText.\n\n## Others\n| x |\n\n## The original's\nThose of before.\n\n\
        | directive | a | u | d | w | m | here |\n|---|---|---|---|---|---|---|\n\
        | SetAFSAccessLog | FILE | bytes | none | main server | none | absolute, `\\|-` too |\n\n*Merge* was none.\n";

    #[test]
    fn reads_the_module_s_table() {
        let rows: Vec<[String; 6]> = known(CODE).into_iter().map(|d| d.row).collect();
        let want = [
            ["FILE|\"|PROGRAM\"", "", "none", "virtual host", "inner replaces outer", "graceful"],
            ["SECONDS", "seconds", "20", "main server", "one for all", "full"],
        ];
        assert_eq!(rows, want.map(|row| row.map(str::to_owned)));
    }

    #[test]
    fn units_are_known_by_arguments_and_by_what_reads_them() {
        for (arguments, entry, want) in [
            ("1..64", "number(one(w), 1, 64, \"a number of lanes\")", "lanes"),
            ("0..4", "number(one(w), 0, 4, \"a level\")", "level"),
            ("SIZE[K|M|G]", "size(one(w))", "bytes"),
            ("PER-USER PER-ADDRESS SECONDS", "login_limit(w)", "failed logins, seconds"),
            ("CELL", "cell(one(w))", ""),
        ] {
            assert_eq!(unit(arguments, entry), want, "{arguments}");
        }
    }

    #[test]
    fn a_page_that_says_something_else_than_the_module_is_told() {
        let known = known(CODE);
        assert_eq!(differences(&known, PAGE), Vec::<String>::new());
        for (from, to, want) in [
            (
                "| 20 |",
                "| 21 |",
                "lacks the row | SetAFSLoginDeadline | SECONDS | seconds | 20 | main server |",
            ),
            ("| seconds |", "| minutes |", "lacks the row"),
            ("one for all", "adds up", "lacks the row"),
            ("## SetAFSLoginDeadline", "## SetAFSDeadline", "not one section SetAFSLoginDeadline"),
            ("## Others", "## SetAFSAccessLog", "not one section SetAFSAccessLog"),
            ("## Others", "x", ""),
        ] {
            let found = differences(&known, &PAGE.replace(from, to));
            assert!(want.is_empty() == found.is_empty(), "{from}: {found:?}");
            assert!(want.is_empty() || found.iter().any(|f| f.contains(want)), "{from}: {found:?}");
        }
        let reversed: Vec<Directive> = known.iter().rev().cloned().collect();
        assert!(differences(&reversed, PAGE).iter().any(|f| f.contains("order")));
    }

    #[test]
    fn the_page_becomes_a_part_of_the_manual() {
        let section = section(PAGE, &known(CODE)).unwrap();
        let want = "Words.\n\
            .TP\n.BI SetAFSAccessLog \" FILE|\\(dq|PROGRAM\\(dq\"\n\
            \\fB/a\\-b\\fR or \\fIboth\\fR, see there.\n.IP\n\\&.not a request\n.br\n\\(bu one\n\
            .br\nDefault: none.\nWhere: main server, virtual host.\nThe inner value replaces the outer one.\n\
            A change counts after a reload.\n\
            .TP\n.BI SetAFSLoginDeadline \" SECONDS\"\nText.\n\
            .br\nUnit: seconds.\nDefault: 20.\nWhere: main server only.\nOne value for all servers.\n\
            A change counts after a stop and start.\n\
            .SS The original's\nThose of before.\n\
            .TP\n.BI SetAFSAccessLog \" FILE\"\nThere: main server; default none; bytes.\n\
            Here: absolute, \\fB|\\-\\fR too.\n.PP\n\\fIMerge\\fR was none.\n";
        assert_eq!(section, want);
        let manual = format!("a\n{FROM}old\n{TO}z\n");
        assert_eq!(with_section(&manual, &section).unwrap(), format!("a\n{FROM}{want}{TO}z\n"));
        assert!(with_section("no such part", &section).is_err());
    }

    #[test]
    fn the_original_s_directives_are_ours_and_there_are_some() {
        for (from, to, want) in [
            (
                "| SetAFSAccessLog | FILE | bytes",
                "| SetAFSAccessLogs | FILE | bytes",
                "SetAFSAccessLogs is none",
            ),
            ("| SetAFSAccessLog | FILE | bytes", "| SetAFSAccessLog | bytes", "not seven cells"),
            ("## The original's", "## Others", "no section The original's"),
            ("| SetAFSAccessLog | FILE | bytes", "SetAFSAccessLog", "no table"),
        ] {
            let why = section(&PAGE.replace(from, to), &known(CODE)).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
    }

    #[test]
    fn what_the_manual_cannot_say_is_told() {
        for (text, want) in [("| a table |", "a table"), ("```\nx", "no end")] {
            let page = PAGE.replace("Text.", text);
            let why = format!("{:#}", section(&page, &known(CODE)).unwrap_err());
            assert!(why.contains(want) && why.contains("SetAFSLoginDeadline"), "{why}");
        }
        assert_eq!(roff("a\\b `c\\d`"), "a\\eb \\fBc\\ed\\fR");
    }
}
