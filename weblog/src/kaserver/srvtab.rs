//! Files with DES keys as Kerberos 4 had them, which kaserver cells use: `/etc/srvtab`.
//!
//! Entries follow each other: name, instance and realm, a NUL behind each, a byte with the key's version, eight bytes of key.

use super::sys::Key;
use core::str;
use rustix::io::Errno;
use zeroize::Zeroizing;

/// Larger files are something else.
const BYTES_MAX: usize = 64 * 1024;

/// Whether this is the beginning of a keytab of Kerberos 5, and so no srvtab.
#[must_use]
pub fn is_keytab(bytes: &[u8]) -> bool {
    matches!(bytes, [5, 1 | 2, ..])
}

/// Reads a file with keys, into memory that is wiped.
///
/// # Errors
/// The system's number, or `EFBIG`.
pub fn read(path: &str) -> Result<Zeroizing<Vec<u8>>, i32> {
    use std::io::Read as _;
    let number = |e: std::io::Error| e.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
    let mut file = std::fs::File::open(path).map_err(number)?;
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let mut bytes = Zeroizing::new(vec![0; BYTES_MAX]);
    let mut len = 0;
    loop {
        match file.read(bytes.get_mut(len..).unwrap_or_default()) {
            Ok(0) if len == BYTES_MAX => return Err(Errno::FBIG.raw_os_error()),
            Ok(0) => break,
            Ok(n) => len = len.saturating_add(n),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(number(e)),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// The newest key of a principal of a cell; nothing if the file has none, or is no srvtab.
#[must_use]
pub fn find(bytes: &[u8], name: &str, instance: &str, cell: &str) -> Option<Key> {
    let mut newest: Option<(u8, Key)> = None;
    let mut rest = bytes;
    while !rest.is_empty() {
        let its_name = text(&mut rest)?;
        let its_instance = text(&mut rest)?;
        let its_realm = text(&mut rest)?;
        let (version, behind) = rest.split_first()?;
        let (key, behind) = behind.split_first_chunk::<8>()?;
        rest = behind;
        let same = its_name == name && its_instance == instance && its_realm.eq_ignore_ascii_case(cell);
        if same && newest.as_ref().is_none_or(|(v, _)| v < version) {
            newest = Some((*version, Key::new(key)));
        }
    }
    newest.map(|(_, key)| key)
}

/// Takes a text and its NUL from the beginning.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().take(64).position(|b| *b == 0)?;
    let (text, behind) = rest.split_at_checked(end)?;
    *rest = behind.get(1..)?;
    str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &str, instance: &str, realm: &str, version: u8, key: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [name, instance, realm] {
            bytes.extend_from_slice(part.as_bytes());
            bytes.push(0);
        }
        bytes.push(version);
        bytes.extend_from_slice(&[key; 8]);
        bytes
    }

    fn found(bytes: &[u8], name: &str, instance: &str) -> Option<u8> {
        find(bytes, name, instance, "cell.example").map(|key| key.expose()[0])
    }

    #[test]
    fn the_newest_key_of_the_principal_is_found() {
        let all = [
            entry("rcmd", "www", "CELL.EXAMPLE", 1, 1),
            entry("publisher", "", "CELL.EXAMPLE", 3, 3),
            entry("publisher", "", "CELL.EXAMPLE", 2, 2),
            entry("publisher", "www", "OTHER.EXAMPLE", 9, 9),
        ]
        .concat();
        assert_eq!(found(&all, "publisher", ""), Some(3));
        assert_eq!(found(&all, "rcmd", "www"), Some(1));
        assert_eq!(found(&all, "publisher", "www"), None, "another cell's");
        assert_eq!(found(&all, "Publisher", ""), None);
    }

    #[test]
    fn what_is_no_srvtab_has_no_keys() {
        let whole = entry("publisher", "", "CELL.EXAMPLE", 1, 7);
        for n in 1..whole.len() {
            assert_eq!(found(&whole[..n], "publisher", ""), None, "{n}");
        }
        assert_eq!(found(&[0xFF; 200], "publisher", ""), None);
        assert!(is_keytab(&[5, 2, 0, 0]));
        assert!(!is_keytab(&whole));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = found(&bytes, "publisher", "");
        }
    }
}
