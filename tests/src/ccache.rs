//! Reads a credentials cache of MIT Kerberos, the kind that is a file, as far as tests need it.
//!
//! Source: MIT Kerberos documentation, "Credential cache file format", version 4.

use anyhow::{Context as _, Result, ensure};
use std::fmt;
use zeroize::Zeroizing;

/// A ticket with its session key.
pub struct Credential {
    /// Whose it is: `alice@CELL.EXAMPLE`.
    pub client: String,
    /// For which service.
    pub server: String,
    /// Kind of the session key.
    pub enctype: u16,
    /// The session key.
    pub key: Zeroizing<Vec<u8>>,
    /// Start of validity, seconds since 1970.
    pub start: u32,
    /// End of validity, seconds since 1970.
    pub end: u32,
    /// The ticket, as it goes to the service.
    pub ticket: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("client", &self.client)
            .field("server", &self.server)
            .field("enctype", &self.enctype)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// All credentials of a cache, in the order in which they came; its notes of configuration are left out.
///
/// # Errors
/// It is no such cache, or cut off.
pub fn read(bytes: &[u8]) -> Result<Vec<Credential>> {
    let mut r = Reader(bytes);
    ensure!(r.u16()? == 0x0504, "no credentials cache of version 4");
    let header = usize::from(r.u16()?);
    r.take(header)?;
    r.principal()?;
    let mut all = Vec::new();
    while !r.0.is_empty() {
        let credential = r.credential().with_context(|| format!("credential {}", all.len()))?;
        if !credential.server.ends_with("@X-CACHECONF:") {
            all.push(credential);
        }
    }
    Ok(all)
}

/// What has not been read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).context("cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn data(&mut self) -> Result<&'a [u8]> {
        let len = usize::try_from(self.u32()?)?;
        self.take(len)
    }

    /// Kind, number of components, realm, components.
    fn principal(&mut self) -> Result<String> {
        self.u32()?;
        let components = self.u32()?;
        let realm = String::from_utf8(self.data()?.to_vec())?;
        let mut name = Vec::new();
        for _ in 0..components {
            name.push(String::from_utf8(self.data()?.to_vec())?);
        }
        Ok(format!("{}@{realm}", name.join("/")))
    }

    /// Addresses and authorization data look alike: a number of entries, each a kind and bytes.
    fn skip_entries(&mut self) -> Result<()> {
        for _ in 0..self.u32()? {
            self.u16()?;
            self.data()?;
        }
        Ok(())
    }

    fn credential(&mut self) -> Result<Credential> {
        let client = self.principal()?;
        let server = self.principal()?;
        let enctype = self.u16()?;
        let key = Zeroizing::new(self.data()?.to_vec());
        let authenticated = self.u32()?;
        let start = self.u32()?;
        let end = self.u32()?;
        // Renewable until; whether the ticket is sealed by another ticket's key; flags.
        self.take(4 + 1 + 4)?;
        self.skip_entries()?;
        self.skip_entries()?;
        let ticket = Zeroizing::new(self.data()?.to_vec());
        self.data()?;
        // The beginning is left out where it is the time of the login.
        let start = if start == 0 { authenticated } else { start };
        Ok(Credential { client, server, enctype, key, start, end, ticket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn principal(realm: &str, components: &[&str]) -> Vec<u8> {
        let mut p = vec![0, 0, 0, 1];
        p.extend(u32::try_from(components.len()).unwrap().to_be_bytes());
        p.extend(data(realm));
        components.iter().for_each(|c| p.extend(data(c)));
        p
    }

    fn credential(server: Vec<u8>, ticket: &str) -> Vec<u8> {
        let mut c = principal("R", &["alice"]);
        c.extend(server);
        c.extend([0, 18]);
        c.extend(data("key"));
        for time in [5u32, 0, 7, 0] {
            c.extend(time.to_be_bytes());
        }
        c.extend([0, 0, 0, 0, 0]);
        // One address, no authorization data.
        c.extend([0, 0, 0, 1, 0, 2]);
        c.extend(data("addr"));
        c.extend([0, 0, 0, 0]);
        c.extend(data(ticket));
        c.extend(data(""));
        c
    }

    fn cache() -> Vec<u8> {
        let mut all = vec![5, 4, 0, 2, 9, 9];
        all.extend(principal("R", &["alice"]));
        all.extend(credential(principal("X-CACHECONF:", &["krb5_ccache_conf_data", "pa_type"]), "2"));
        all.extend(credential(principal("R", &["afs", "c.example"]), "TICKET"));
        all
    }

    #[test]
    fn the_tickets_of_a_cache_are_found() {
        let all = read(&cache()).unwrap();
        let [afs] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((afs.client.as_str(), afs.server.as_str()), ("alice@R", "afs/c.example@R"));
        assert_eq!((afs.enctype, afs.start, afs.end), (18, 5, 7));
        assert_eq!((&afs.key[..], &afs.ticket[..]), (&b"key"[..], &b"TICKET"[..]));
        assert!(!format!("{afs:?}").contains("TICKET"));
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_an_error() {
        let whole = cache();
        assert!(read(b"text").is_err());
        for len in 0..whole.len() {
            let what_is_left = read(&whole[..len]);
            // Cut between two credentials it is a shorter cache.
            assert!(what_is_left.is_err() || what_is_left.unwrap().is_empty(), "{len}");
        }
    }
}
