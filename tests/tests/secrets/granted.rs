//! Session keys and tickets that kaservers or KDCs grant to visitors: secrets as much as passwords are.

use crate::bytes;
use crate::common::{kaserver, method};
use integration::kdc_watch::KdcWatch;
use integration::marks::Marks;
use integration::method::Method;
use integration::ticket::des_key;
use integration::world::{FIRST_CELL, SECOND_CELL, World};

/// So many bytes of a ticket that nobody can read are looked for: a line that shows one may show no more, and a ticket of a
/// kaserver ends with padding that others may have, too.
const START: usize = 32;

/// A ticket with what comes with it.
pub(crate) struct Granted {
    /// To whom; a kaserver does not say that.
    client: Option<String>,
    /// Each with its name.
    pub(crate) secrets: Vec<(&'static str, Vec<u8>)>,
}

impl Granted {
    fn new(client: Option<String>, session_key: &[u8], sealed: &[u8]) -> Self {
        let ticket = sealed[..START].to_vec();
        Self { client, secrets: vec![("a session key", session_key.to_vec()), ("a ticket", ticket)] }
    }

    /// Not a service's, as far as is known.
    pub(crate) fn is_visitors(&self) -> bool {
        self.client.as_ref().is_none_or(|client| client.starts_with("alice@"))
    }
}

/// What is granted while this is there.
pub(crate) struct Grants<'a> {
    world: &'a World,
    kdcs: Option<KdcWatch>,
}

impl<'a> Grants<'a> {
    /// From now on.
    pub(crate) fn begin(world: &'a World) -> Self {
        let kdcs = (method() == Method::Krb5).then(|| KdcWatch::begin(world).unwrap());
        Self { world, kdcs }
    }

    /// All so far, tickets for AFS services last.
    pub(crate) fn all(&self) -> Vec<Granted> {
        let Some(kdcs) = &self.kdcs else { return self.of_kaservers() };
        let mut all = Vec::new();
        for grant in kdcs.granted().unwrap() {
            let mut granted = Granted::new(Some(grant.client), &grant.key, &grant.sealed);
            if grant.server.starts_with("afs/") || grant.server.starts_with("afs@") {
                granted.secrets.push(("a token's key", des_key(grant.enctype, &grant.key).unwrap().to_vec()));
            }
            all.push(granted);
        }
        all.sort_by_key(|granted| granted.secrets.len());
        all
    }

    fn of_kaservers(&self) -> Vec<Granted> {
        let said = [FIRST_CELL, SECOND_CELL].map(|cell| kaserver(self.world, cell, "granted"));
        let pairs = said.iter().flat_map(|answer| answer.split(' ').skip(1));
        pairs
            .map(|pair| {
                let (key, ticket) = pair.split_once(':').unwrap();
                Granted::new(None, &bytes(key), &bytes(ticket))
            })
            .collect()
    }
}

/// All of them are marks from now on.
pub(crate) fn mark(all: &[Granted], marks: &mut Marks) {
    all.iter().flat_map(|granted| &granted.secrets).for_each(|(name, secret)| marks.add(name, secret));
}
