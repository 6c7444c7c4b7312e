//! Tests of frames: what their parts share.

use super::drawn::{ID, KEY};
use super::head::{HEAD, Kind, put_head};
use super::packets::PART_HEAD;
use super::replies::TAG;
use super::requests::REQUEST_HEAD;
use super::*;
use crate::{Failure, GetToken, Granted, Password, Reply, Request, wire};
use core::net::IpAddr;
use pag::{Cell, SessionKey, Token};
use zeroize::Zeroizing;

mod any_bytes;
mod replies;
mod requests;

const ID_A: RequestId = RequestId([7; ID]);
const ID_B: RequestId = RequestId([8; ID]);

fn key(b: u8) -> OneTimeKey {
    OneTimeKey::new(&[b; KEY])
}

fn get_token(user: &str, password: &[u8]) -> Request {
    Request::GetToken(GetToken {
        realm: Some("OTHER.EXAMPLE".into()),
        user: user.to_owned(),
        cell: "example.com".to_owned(),
        password: Password::new(Zeroizing::new(password.to_vec())).unwrap(),
        address: "2001:db8::1".parse::<IpAddr>().unwrap(),
        token_lifetime_s: 36_000,
        cache_expiration_s: u32::MAX,
    })
}

fn granted(ticket: usize) -> Reply {
    Reply::Granted(Granted {
        token: Token {
            cell: Cell::new(&"c".repeat(63)).unwrap(),
            afs_id: i32::MIN,
            kvno: 256,
            key: SessionKey([0xF1; 8]),
            begin: 5,
            end: i64::MAX,
            ticket: Zeroizing::new((0..ticket).map(|i| u8::try_from(i % 251).unwrap()).collect()),
        },
        name: "n".repeat(63),
        valid_s: u32::MAX,
        password_expires_days: Some(255),
    })
}

/// All parts of a reply, as its asker would take them.
///
/// # Errors
/// As its asker would get them.
fn open(id: RequestId, key: &OneTimeKey, packets: &[Vec<u8>]) -> Result<Reply, FrameError> {
    let mut a = Assembler::new(id);
    for p in packets {
        a.push(&parse_packet(p)?)?;
    }
    a.open(key)
}

/// A request with any body.
fn raw_request(body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; REQUEST_HEAD];
    packet.extend_from_slice(body);
    put_head(Kind::Request, &mut packet).unwrap();
    packet
}
