//! CellServDB, the file that names cells and their servers. Reads it; asks no name server, opens no connection.

use crate::{Cell, Error};
use std::net::Ipv4Addr;
use std::path::Path;

/// The cells of a CellServDB with the addresses of their servers, in the order of the file.
///
/// The names that stand there beside the addresses are comments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CellServDb {
    cells: Vec<(Cell, Vec<Ipv4Addr>)>,
}

impl CellServDb {
    /// Reads the file of this name in a directory.
    ///
    /// # Errors
    /// [`Error::NoAfs`] if it cannot be read, or as [`CellServDb::parse`].
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("CellServDB");
        let text =
            std::fs::read_to_string(&path).map_err(|e| Error::NoAfs(format!("{}: {e}", path.display())))?;
        Self::parse(&text, &path)
    }

    /// Takes the text of the file `path` apart.
    ///
    /// # Errors
    /// [`Error::NoAfs`] names the first line that the AFS libraries would not take.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let mut cells: Vec<(Cell, Vec<Ipv4Addr>)> = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let bad = |why: &str| Error::NoAfs(format!("{} line {number}: {why}", path.display()));
            let first = |text: &str| text.split([' ', '\t', '#']).next().unwrap_or_default().to_owned();
            let line = line.trim();
            if line.len() > 200 {
                return Err(bad("too long"));
            }
            if let Some(cell) = line.strip_prefix('>') {
                let cell = Cell::new(&first(cell)).map_err(|e| bad(&e.to_string()))?;
                cells.push((cell, Vec::new()));
            } else if !line.is_empty() && !line.starts_with('#') {
                let address = first(line);
                // Brackets mark a server that only copies the databases.
                let address = address.trim_start_matches('[').trim_end_matches(']');
                let address = address.parse().map_err(|_| bad("not an address"))?;
                cells.last_mut().ok_or_else(|| bad("address before the first cell"))?.1.push(address);
            }
        }
        Ok(Self { cells })
    }

    /// Is this cell in it, with servers or without?
    #[must_use]
    pub fn has(&self, cell: &Cell) -> bool {
        self.cells.iter().any(|(name, _)| name == cell)
    }

    /// The servers of exactly this cell; none if it is not there.
    #[must_use]
    pub fn servers(&self, cell: &Cell) -> &[Ipv4Addr] {
        // Of two entries the libraries take the later one.
        self.cells.iter().rev().find(|(name, _)| name == cell).map_or(&[], |(_, servers)| servers)
    }

    /// The cells that have servers.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|(_, servers)| !servers.is_empty()).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_and_addresses_are_read_and_names_are_comments() {
        let text = "# cells\n>Other.example #Other\n192.0.2.9 #x\n\n>none.example\n\
                    >c.example linked.example # Ours\n192.0.2.1\t#db.c.example\n [192.0.2.2] #clone\n";
        let db = CellServDb::parse(text, Path::new("f")).unwrap();
        let servers = |cell: &str| db.servers(&Cell::new(cell).unwrap()).to_vec();
        assert_eq!(servers("c.example"), [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)]);
        assert_eq!(servers("other.example"), [Ipv4Addr::new(192, 0, 2, 9)]);
        // No prefixes, no aliases.
        for none in ["none.example", "c", "linked.example", "third.example"] {
            assert!(servers(none).is_empty(), "{none}");
        }
        assert_eq!(db.cells().map(Cell::as_str).collect::<Vec<_>>(), ["other.example", "c.example"]);
    }

    #[test]
    fn a_line_that_cannot_be_is_told_by_its_number() {
        for (text, line) in [
            ("192.0.2.1\n", 1),
            (">c.example\nhost.c.example\n", 2),
            (">\n192.0.2.1\n", 1),
            ("\n>c.example\n192.0.2.300\n", 3),
        ] {
            let told = CellServDb::parse(text, Path::new("f")).unwrap_err().to_string();
            assert!(told.contains(&format!("f line {line}: ")), "{text:?}: {told}");
        }
        assert!(CellServDb::parse(&format!("# {}\n", "x".repeat(300)), Path::new("f")).is_err());
    }
}
