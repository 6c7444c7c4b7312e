//! What KDCs grant: tickets with their session keys, seen on their way to the clients.
//!
//! A KDC tells nobody its session keys. So its answers are taken from the network of the world, and the tickets in them opened
//! with the keys of the services that they are for, which its database has. The KDC's own log says whether all were seen.

use crate::kdc::Kdc;
use crate::wait;
use crate::world::{Realm, World};
use anyhow::{Context as _, Result, ensure};
use picky_asn1::wrapper::IntegerAsn1;
use picky_krb::constants::key_usages::TICKET_REP;
use picky_krb::crypto::CipherSuite;
use picky_krb::data_types::{EncTicketPart, PrincipalName, Realm as RealmName, Ticket};
use picky_krb::messages::{AsRep, TgsRep};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use zeroize::Zeroizing;

/// Packets that nobody has looked at yet: so many bytes of them are kept.
const BACKLOG: usize = 64 << 20;
/// A packet of IPv4 is no longer.
const LONGEST: usize = 65_535;
/// From a ticket's way out of the KDC to here, and to the KDC's log.
const SOON: Duration = Duration::from_secs(20);
/// The KDC's line about a ticket, and the end of what stands before the names in it.
const ISSUED: (&str, &str) = (": ISSUE: ", "}, ");
/// Configuration names the log twice (see [`crate::kdc`]), so each line is written twice.
const TIMES: usize = 2;

/// A ticket that a KDC has granted.
pub struct Grant {
    /// To whom: `alice@CELL.EXAMPLE`.
    pub client: String,
    /// For which service.
    pub server: String,
    /// Kind of the session key.
    pub enctype: u16,
    /// The session key.
    pub key: Zeroizing<Vec<u8>>,
    /// What the service alone can open of the ticket; before it stand only names.
    pub sealed: Vec<u8>,
}

impl Grant {
    /// For whom and what, as the KDC's log has it.
    fn names(&self) -> String {
        format!("{} for {}", self.client, self.server)
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("client", &self.client)
            .field("server", &self.server)
            .field("enctype", &self.enctype)
            .finish_non_exhaustive()
    }
}

/// Keys of services.
type Keys = BTreeMap<String, Vec<Zeroizing<Vec<u8>>>>;
/// The answers of KDCs, each once however often it was sent.
type Answers = Arc<Mutex<BTreeSet<Vec<u8>>>>;

/// Watches all KDCs of the world until it goes.
pub struct KdcWatch {
    /// Each with the length that its log had.
    realms: Vec<(Realm, usize)>,
    answers: Answers,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for KdcWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KdcWatch").finish_non_exhaustive()
    }
}

impl KdcWatch {
    /// From now on.
    ///
    /// # Errors
    /// Not root, or not in the world.
    pub fn begin(world: &World) -> Result<Self> {
        // Without a link's header, and only what comes in: what goes to an address of this machine's own comes in by loopback.
        let socket =
            socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(eth::IP))
                .context("a socket that sees all packets")?;
        set_socket_recv_buffer_size_force(&socket, BACKLOG)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(100)))?;
        let kdcs: Vec<SocketAddr> = world.realms.iter().map(|realm| realm.kdc).collect();
        let (answers, stop) = (Answers::default(), Arc::new(AtomicBool::new(false)));
        let (into, told) = (Arc::clone(&answers), Arc::clone(&stop));
        let thread = std::thread::spawn(move || watch(&socket, &kdcs, &into, &told));
        let mut watch = Self { realms: Vec::new(), answers, stop, thread: Some(thread) };
        for realm in &world.realms {
            watch.realms.push((realm.clone(), fs::read_to_string(&realm.log)?.len()));
        }
        Ok(watch)
    }

    /// What has been granted since: exactly what the KDCs' logs say.
    ///
    /// # Errors
    /// Less or more was seen than they say, or a ticket cannot be opened.
    pub fn granted(&self) -> Result<Vec<Grant>> {
        let mut keys = BTreeMap::new();
        let mut differ = String::new();
        let seen = wait::until("the tickets that KDCs say they have granted", SOON, || {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut seen = Vec::new();
            for answer in answers {
                if let Some(ticket) = ticket_in(&answer)? {
                    seen.push(self.open(ticket, &mut keys)?);
                }
            }
            let (by_names, issued) = (tally(seen.iter().map(Grant::names)), self.issued()?);
            differ = format!("seen: {by_names:?}, issued: {issued:?}");
            Ok((by_names == issued).then_some(seen))
        });
        seen.with_context(|| differ)
    }

    /// Opens a ticket with its service's keys; those that were asked for already are in `keys`.
    fn open(&self, ticket: Ticket, keys: &mut Keys) -> Result<Grant> {
        let ticket = ticket.0;
        let (server, of) = (principal(&ticket.sname.0, &ticket.realm.0), ticket.realm.0.to_string());
        let keys = match keys.entry(server.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let realm = self.realms.iter().map(|(realm, _)| realm).find(|realm| realm.name == of);
                new.insert(Kdc::of(realm.with_context(|| format!("no realm {of}"))?).keys(&server)?)
            }
        };
        let cipher = CipherSuite::try_from(usize::from(kind(&ticket.enc_part.0.etype.0)))?.cipher();
        let sealed = ticket.enc_part.0.cipher.0.0;
        let fitting = keys.iter().filter(|key| key.len() == cipher.key_size());
        let opened = fitting.filter_map(|key| cipher.decrypt(key, TICKET_REP, &sealed).ok()).next();
        let opened = Zeroizing::new(opened.with_context(|| format!("no key opens a ticket for {server}"))?);
        let part = picky_asn1_der::from_bytes::<EncTicketPart>(&opened).context("EncTicketPart")?.0;
        Ok(Grant {
            client: principal(&part.cname.0, &part.crealm.0),
            server,
            enctype: kind(&part.key.0.key_type.0),
            key: Zeroizing::new(part.key.0.key_value.0.0),
            sealed,
        })
    }

    /// How often the KDCs say that they have issued what to whom.
    fn issued(&self) -> Result<BTreeMap<String, usize>> {
        let mut all = Vec::new();
        for (realm, before) in &self.realms {
            let log = fs::read_to_string(&realm.log)?;
            all.extend(issued_in(log.get(*before..).context("a log has become shorter")?)?);
        }
        Ok(tally(all.into_iter()))
    }
}

impl Drop for KdcWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // If it has panicked, what it did not see was missing.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn tally(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    names.for_each(|name| *all.entry(name).or_default() += 1);
    all
}

/// Keeps what KDCs say. What is lost here is missed by [`KdcWatch::granted`].
fn watch(socket: &OwnedFd, kdcs: &[SocketAddr], into: &Answers, stop: &AtomicBool) {
    let mut buffer = vec![0; LONGEST];
    while !stop.load(Ordering::Relaxed) {
        match recv(socket, buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((len, _)) => {
                let answer = buffer.get(..len).and_then(|packet| answer_in(packet, kdcs));
                if let Some(answer) = answer {
                    into.lock().unwrap_or_else(PoisonError::into_inner).insert(answer.to_vec());
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// What one of these servers says in a packet of IPv4, by UDP, or by TCP with its length before it.
fn answer_in<'a>(packet: &'a [u8], servers: &[SocketAddr]) -> Option<&'a [u8]> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let (ip, inner) = packet.split_at_checked(header)?;
    let address = Ipv4Addr::from(*ip.get(12..)?.first_chunk::<4>()?);
    let port = u16::from_be_bytes(*inner.first_chunk()?);
    if !servers.contains(&SocketAddr::from((address, port))) {
        return None;
    }
    match ip.get(9)? {
        6 => {
            let header = usize::from(inner.get(12)? >> 4) * 4;
            inner.get(header + 4..)
        }
        17 => inner.get(8..),
        _ => None,
    }
}

/// The ticket in an answer of a KDC, if it is one with a ticket.
fn ticket_in(answer: &[u8]) -> Result<Option<Ticket>> {
    // [APPLICATION 11] and [APPLICATION 13] of RFC 4120.
    Ok(match answer.first() {
        Some(0x6b) => Some(picky_asn1_der::from_bytes::<AsRep>(answer).context("AS-REP")?.0.ticket.0),
        Some(0x6d) => Some(picky_asn1_der::from_bytes::<TgsRep>(answer).context("TGS-REP")?.0.ticket.0),
        _ => None,
    })
}

/// The kind of a key, or of what it seals.
fn kind(number: &IntegerAsn1) -> u16 {
    number.as_unsigned_bytes_be().iter().fold(0, |all, byte| (all << 8) | u16::from(*byte))
}

fn principal(name: &PrincipalName, realm: &RealmName) -> String {
    let parts: Vec<String> = name.name_string.0.0.iter().map(|part| part.0.to_string()).collect();
    format!("{}@{}", parts.join("/"), realm.0)
}

/// What a KDC's log says that it has issued: `alice@CELL.EXAMPLE for afs/cell.example@CELL.EXAMPLE`.
fn issued_in(log: &str) -> Result<Vec<String>> {
    let names = log.lines().filter_map(|line| line.split_once(ISSUED.0)?.1.split_once(ISSUED.1));
    let names: Vec<&str> = names.map(|(_, names)| names).collect();
    let mut all = Vec::new();
    for times in names.chunks(TIMES) {
        let [first, rest @ ..] = times else { continue };
        ensure!(times.len() == TIMES && rest.iter().all(|n| n == first), "not {TIMES} times: {times:?}");
        all.push((*first).to_owned());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "afs/c.example@C.EXAMPLE";

    /// A value of ASN.1 in DER.
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let inner = parts.concat();
        let [high, low] = u16::try_from(inner.len()).unwrap().to_be_bytes();
        let length = match inner.len() {
            0..=0x7f => vec![low],
            0x80..=0xff => vec![0x81, low],
            _ => vec![0x82, high, low],
        };
        [vec![tag], length, inner].concat()
    }

    fn integer(number: u8) -> Vec<u8> {
        der(0x02, &[&[number]])
    }

    fn text(text: &str) -> Vec<u8> {
        der(0x1b, &[text.as_bytes()])
    }

    fn name(parts: &[&str]) -> Vec<u8> {
        let parts: Vec<u8> = parts.iter().flat_map(|part| text(part)).collect();
        der(0x30, &[&der(0xa0, &[&integer(1)]), &der(0xa1, &[&der(0x30, &[&parts])])])
    }

    fn encrypted(bytes: &[u8]) -> Vec<u8> {
        let (kind, version) = (der(0xa0, &[&integer(18)]), der(0xa1, &[&integer(2)]));
        der(0x30, &[&kind, &version, &der(0xa2, &[&der(0x04, &[bytes])])])
    }

    /// An AS-REP with a ticket of alice's for [`SERVICE`] under `service_key`, and with this session key.
    fn answer(service_key: &[u8], session_key: &[u8]) -> Vec<u8> {
        let key = der(0x30, &[&der(0xa0, &[&integer(18)]), &der(0xa1, &[&der(0x04, &[session_key])])]);
        let transited = der(0x30, &[&der(0xa0, &[&integer(1)]), &der(0xa1, &[&der(0x04, &[])])]);
        let time = der(0x18, &[b"20260101000000Z"]);
        let part = [
            der(0xa0, &[&der(0x03, &[&[0, 0x40, 0, 0, 0]])]),
            der(0xa1, &[&key]),
            der(0xa2, &[&text("C.EXAMPLE")]),
            der(0xa3, &[&name(&["alice"])]),
            der(0xa4, &[&transited]),
            der(0xa5, &[&time]),
            der(0xa7, &[&time]),
        ];
        let part = der(0x63, &[&der(0x30, &[&part.concat()])]);
        let sealed =
            CipherSuite::Aes256CtsHmacSha196.cipher().encrypt(service_key, TICKET_REP, &part).unwrap();
        let ticket = [
            der(0xa0, &[&integer(5)]),
            der(0xa1, &[&text("C.EXAMPLE")]),
            der(0xa2, &[&name(&["afs", "c.example"])]),
            der(0xa3, &[&encrypted(&sealed)]),
        ];
        let whole = [
            der(0xa0, &[&integer(5)]),
            der(0xa1, &[&integer(11)]),
            der(0xa3, &[&text("C.EXAMPLE")]),
            der(0xa4, &[&name(&["alice"])]),
            der(0xa5, &[&der(0x61, &[&der(0x30, &[&ticket.concat()])])]),
            der(0xa6, &[&encrypted(b"for alice alone")]),
        ];
        der(0x6b, &[&der(0x30, &[&whole.concat()])])
    }

    fn watch_of_nothing() -> KdcWatch {
        KdcWatch { realms: Vec::new(), answers: Answers::default(), stop: Arc::default(), thread: None }
    }

    #[test]
    fn a_ticket_is_opened_with_its_services_key_alone() {
        let answer = answer(&[7; 32], &[9; 32]);
        let ticket = || ticket_in(&answer).unwrap().unwrap();
        let keys = |key: &[u8]| Keys::from([(SERVICE.to_owned(), vec![Zeroizing::new(key.to_vec())])]);
        let grant = watch_of_nothing().open(ticket(), &mut keys(&[7; 32])).unwrap();
        assert_eq!(grant.names(), "alice@C.EXAMPLE for afs/c.example@C.EXAMPLE");
        assert_eq!((grant.enctype, &grant.key[..]), (18, &[9; 32][..]));
        assert!(answer.windows(grant.sealed.len()).any(|w| w == grant.sealed));
        assert!(!format!("{grant:?}").contains("sealed"));
        for wrong in [&[8; 32][..], &[7; 16]] {
            assert!(watch_of_nothing().open(ticket(), &mut keys(wrong)).is_err(), "{wrong:?}");
        }
        assert!(watch_of_nothing().open(ticket(), &mut Keys::new()).is_err(), "whose keys nobody has");
    }

    #[test]
    fn what_is_no_ticket_is_passed_over_and_what_is_cut_off_is_an_error() {
        assert!(ticket_in(b"").unwrap().is_none());
        assert!(ticket_in(&der(0x7e, &[])).unwrap().is_none(), "KRB-ERROR");
        let whole = answer(&[7; 32], &[9; 32]);
        assert!(ticket_in(&whole[..whole.len() / 2]).is_err());
    }

    /// A packet of IPv4 from 192.0.2.1.
    fn packet(protocol: u8, inner: &[&[u8]]) -> Vec<u8> {
        let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 9];
        ip.extend(inner.concat());
        ip
    }

    #[test]
    fn answers_are_found_in_packets_of_both_kinds() {
        let kdcs = [SocketAddr::from(([192, 0, 2, 1], 88))];
        let udp = packet(17, &[&[0, 88, 200, 1, 0, 14, 0, 0], b"answer"]);
        assert_eq!(answer_in(&udp, &kdcs), Some(&b"answer"[..]));
        // A header of TCP of 32 bytes, and the length of what is said.
        let tcp =
            packet(6, &[&[0, 88, 200, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x80], &[0; 19], &[0, 0, 0, 6], b"answer"]);
        assert_eq!(answer_in(&tcp, &kdcs), Some(&b"answer"[..]));
        let question = packet(17, &[&[200, 1, 0, 88, 0, 14, 0, 0], b"answer"]);
        assert_eq!(answer_in(&question, &kdcs), None);
        assert_eq!(answer_in(&udp, &[SocketAddr::from(([192, 0, 2, 3], 88))]), None);
        for len in 0..28 {
            assert_eq!(answer_in(&udp[..len], &kdcs), None, "{len}");
        }
    }

    #[test]
    fn a_log_tells_what_was_issued_and_each_line_is_there_twice() {
        let line = |what: &str| format!("krb5kdc[1](info): AS_REQ (1 etypes {{x(18)}}) 192.0.2.1: {what}\n");
        let one = line("ISSUE: authtime 1, etypes {rep=x(18), tkt=x(18), ses=x(18)}, alice@C for afs@C");
        let other = line("NEEDED_PREAUTH: alice@C for krbtgt/C@C, Additional pre-authentication required");
        let log = [one.as_str(), &one, &other, &other, &one, &one].concat();
        assert_eq!(issued_in(&log).unwrap(), ["alice@C for afs@C"; 2]);
        assert!(issued_in(&one).is_err());
        assert!(issued_in(&[one.clone(), one.replace("alice", "bob")].concat()).is_err());
    }
}
