//! The matrix of the suite `conformance`: what each row of its table got on each AFS client with each MPM.

use crate::plan::Of;
use crate::report::Line;
use integration::table::{Answered, Mark};
use std::collections::BTreeMap;

/// A column: where the rows were sent, and what came of them.
type Column<'a> = (&'a Of, &'a [Answered]);

/// The rows that a suite has printed.
pub(crate) fn rows(output: &str) -> Vec<Answered> {
    output.lines().filter_map(Answered::read).collect()
}

/// What a cell shows: the status that was seen, and whether that is as it should be.
fn cell(answered: Option<&Answered>) -> String {
    match answered {
        None => "-".to_owned(),
        Some(a) => match a.mark {
            Mark::Ok => a.seen.to_string(),
            Mark::Deviates => format!("{}*", a.seen),
            Mark::Failed => format!("{}!", a.seen),
            Mark::Absent => "-".to_owned(),
        },
    }
}

/// The lines of the matrix; empty if no suite printed rows.
pub(crate) fn matrix(lines: &[Line]) -> Vec<String> {
    let columns: Vec<Column<'_>> = lines
        .iter()
        .filter(|l| !l.rows.is_empty())
        .filter_map(|l| Some((l.of.as_ref()?, l.rows.as_slice())))
        .collect();
    if columns.is_empty() {
        return Vec::new();
    }
    let mut names: Vec<&Answered> = Vec::new();
    for a in columns.iter().flat_map(|(_, rows)| rows.iter()) {
        if !names.iter().any(|known| known.name == a.name) {
            names.push(a);
        }
    }
    let width = names.iter().map(|a| a.name.chars().count()).max().unwrap_or(0);
    let line = |name: &str, want: &str, of: &dyn Fn(&Column<'_>) -> String| {
        let cells: String = columns.iter().map(|c| format!(" {:>9}", of(c))).collect();
        format!("{name:<width$} {want:<24}{cells}")
    };
    let mut out = vec![
        line("", "", &|(of, _)| of.client.clone()),
        line("", "expected, whose body", &|(of, _)| of.mpm.clone()),
    ];
    for a in names {
        let want = format!("{} {}", a.want, a.whose);
        out.push(line(&a.name, &want, &|(_, rows)| cell(rows.iter().find(|other| other.name == a.name))));
    }
    out.push(String::new());
    for mark in [Mark::Ok, Mark::Deviates, Mark::Absent, Mark::Failed] {
        let count = |(_, rows): &Column<'_>| rows.iter().filter(|a| a.mark == mark).count().to_string();
        out.push(line(&format!("rows: {}", mark.as_str()), "", &count));
    }
    out.extend(reasons(&columns));
    out
}

/// Each reason for what is not as expected, with the rows that it is about and where.
fn reasons(columns: &[Column<'_>]) -> Vec<String> {
    let mut reasons: BTreeMap<&str, BTreeMap<&str, Vec<String>>> = BTreeMap::new();
    for (of, rows) in columns {
        for a in rows.iter().filter(|a| a.mark != Mark::Ok) {
            let (why, place) = (a.why.as_deref().unwrap_or("?"), format!("{}/{}", of.client, of.mpm));
            reasons.entry(why).or_default().entry(&a.name).or_default().push(place);
        }
    }
    let mut out = Vec::new();
    for (why, names) in reasons {
        out.push(format!("\n{why}:"));
        for (name, places) in names {
            let everywhere = places.len() == columns.len();
            let places = if everywhere { "everywhere".to_owned() } else { places.join(", ") };
            out.push(format!("  {name} ({places})"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_has_a_cell_for_each_row_and_says_why_it_is_not_as_expected() {
        let row = |mark, seen, name: &str, why: Option<&str>| Answered {
            mark,
            seen,
            want: 200,
            whose: "public".into(),
            name: name.into(),
            why: why.map(Into::into),
        };
        let column = |client: &str, rows: Vec<Answered>| Line {
            of: Some(Of { test: "conformance".into(), client: client.into(), mpm: "event".into() }),
            rows,
            ..Line::failed("x", 0.0)
        };
        let of_kernel =
            vec![row(Mark::Deviates, 206, "b", Some("so it is")), row(Mark::Failed, 500, "c", None)];
        let lines = [
            column("userspace", vec![row(Mark::Ok, 200, "a", None), row(Mark::Ok, 200, "b", None)]),
            column("kafs", of_kernel),
            Line::failed("another suite", 1.0),
        ];
        let seen: Vec<String> = matrix(&lines).iter().map(|l| l.trim_end().to_owned()).collect();
        let words = |n: usize| seen[n].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(0), ["userspace", "kafs"]);
        assert_eq!(words(2), ["a", "200", "public", "200", "-"]);
        assert_eq!(words(3), ["b", "200", "public", "200", "206*"]);
        assert_eq!(words(4), ["c", "200", "public", "-", "500!"]);
        assert_eq!(words(6), ["rows:", "ok", "2", "0"]);
        let said = seen.join("\n");
        assert!(said.contains("so it is:\n  b (kafs/event)"), "{said}");
        assert!(matrix(&[Line::failed("another suite", 1.0)]).is_empty());
    }
}
