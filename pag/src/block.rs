//! Token structures to bytes and back: the VIOCSETTOK block and the XDR form of VIOC_SETTOK2.
//!
//! Pure and bounds-checked. Knows no AFS client. Layouts: OpenAFS `src/afs/afs_pioctl.c` (`PSetTokens`),
//! `src/auth/token.xg`.

use crate::cell::CellError;
use crate::{Cell, SessionKey, Token};
use zeroize::Zeroizing;

/// Length of `struct ClearToken`.
const CLEAR_LEN: u32 = 24;
/// Longest VIOCSETTOK block that a client takes (`MAXPIOCTLTOKENLEN`).
pub const SETTOK_MAX: usize = 12_100;
/// Flag in the block: the client should make a new PAG first. Never set here, refused when read.
const FLAG_SETPAG: i32 = 0x8000;
/// Type of an rxkad token in XDR (`AFSTOKEN_UNION_KAD`).
const XDR_KAD: i32 = 2;
/// Most tokens in the XDR form (`AFSTOKEN_MAX`).
const XDR_TOKENS_MAX: u32 = 8;
/// Longest opaque in the XDR form.
const XDR_OPAQUE_MAX: usize = 16_384;

/// Why a token or block is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// It ends too early.
    #[error("block is too short")]
    Short,
    /// Bytes are left over.
    #[error("block is too long")]
    Long,
    /// A ticket has 32 to 12,000 bytes.
    #[error("ticket length {0} is not 32 to 12,000")]
    Ticket(usize),
    /// Another length of the clear part than 24.
    #[error("clear part has {0} bytes instead of 24")]
    ClearPart(u32),
    /// A time does not fit (32 bits, unsigned), or the end is not after the beginning.
    #[error("times of the token cannot be expressed")]
    Times,
    /// The cell's name is not acceptable.
    #[error("name of the cell")]
    Cell(#[source] CellError),
    /// The cell's name is not text or not terminated.
    #[error("name of the cell is not terminated text")]
    CellText,
    /// A flag that must not be set.
    #[error("flags {0:#x} are not acceptable")]
    Flags(i32),
    /// Not an rxkad token, or more than one.
    #[error("not exactly one rxkad token")]
    Kind,
}

/// Checks what both forms limit, and gives the times as they are sent.
///
/// # Errors
/// [`BlockError`] says what is wrong.
fn check(token: &Token) -> Result<(u32, u32), BlockError> {
    let len = token.ticket.len();
    if !(Token::TICKET_MIN..=Token::TICKET_MAX).contains(&len) {
        return Err(BlockError::Ticket(len));
    }
    times(token)
}

/// The 32-bit times of a token. They are sent unsigned, so they last until 2106.
///
/// # Errors
/// [`BlockError`] says what is wrong.
fn times(token: &Token) -> Result<(u32, u32), BlockError> {
    let fit = |t: i64| u32::try_from(t).map_err(|_| BlockError::Times);
    let (begin, end) = (fit(token.begin)?, fit(token.end)?);
    if begin < end { Ok((begin, end)) } else { Err(BlockError::Times) }
}

/// A number of at most 12,000 as the wire has it.
fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The input of VIOCSETTOK for a token.
///
/// Its length counts the NUL behind the cell's name: a client copies as many bytes as it is told, and searches the
/// cell by what it finds.
///
/// # Errors
/// [`BlockError`] if the token cannot be expressed.
pub fn encode_settok(token: &Token) -> Result<Zeroizing<Vec<u8>>, BlockError> {
    let (begin, end) = check(token)?;
    let cell = token.cell.as_str().as_bytes();
    // All at once, so that no copy of the key is left behind by growing.
    let mut out = Zeroizing::new(Vec::with_capacity(4 + token.ticket.len() + 4 + 24 + 4 + cell.len() + 1));
    out.extend_from_slice(&length(token.ticket.len()).to_ne_bytes());
    out.extend_from_slice(&token.ticket);
    out.extend_from_slice(&CLEAR_LEN.to_ne_bytes());
    out.extend_from_slice(&token.kvno.to_ne_bytes());
    out.extend_from_slice(&token.key.0);
    out.extend_from_slice(&token.afs_id.to_ne_bytes());
    out.extend_from_slice(&begin.to_ne_bytes());
    out.extend_from_slice(&end.to_ne_bytes());
    out.extend_from_slice(&0i32.to_ne_bytes());
    out.extend_from_slice(cell);
    out.push(0);
    Ok(out)
}

/// Reads a VIOCSETTOK block.
///
/// # Errors
/// [`BlockError`] says what is wrong with it.
pub fn decode_settok(block: &[u8]) -> Result<Token, BlockError> {
    if block.len() > SETTOK_MAX {
        return Err(BlockError::Long);
    }
    let mut r = Reader(block);
    let ticket_len = r.host()?;
    let ticket = r.ticket(ticket_len)?;
    let clear = r.host()?;
    if clear != CLEAR_LEN {
        return Err(BlockError::ClearPart(clear));
    }
    let kvno = i32::from_ne_bytes(r.array()?);
    let key = SessionKey(r.array()?);
    let afs_id = i32::from_ne_bytes(r.array()?);
    let begin = u32::from_ne_bytes(r.array()?);
    let end = u32::from_ne_bytes(r.array()?);
    let flags = i32::from_ne_bytes(r.array()?);
    if flags & FLAG_SETPAG != 0 {
        return Err(BlockError::Flags(flags));
    }
    let (last, name) = r.0.split_last().ok_or(BlockError::Short)?;
    if *last != 0 {
        return Err(BlockError::CellText);
    }
    let token = Token { cell: cell(name)?, afs_id, kvno, key, begin: begin.into(), end: end.into(), ticket };
    times(&token)?;
    Ok(token)
}

/// Reads what VIOCGETTOK writes when it is asked for a token by its place: a VIOCSETTOK block at the start of the output.
///
/// # Errors
/// [`BlockError`] says what is wrong with it.
pub fn decode_gettok(output: &[u8]) -> Result<Token, BlockError> {
    let mut r = Reader(output);
    let ticket_len = r.host()?;
    r.take(usize::try_from(ticket_len).unwrap_or(usize::MAX))?;
    // The length of the clear part, the clear part, and the flags.
    r.take(4 + 24 + 4)?;
    // How long the output is, only the cell's NUL says.
    let name = r.0.iter().position(|b| *b == 0).ok_or(BlockError::CellText)?;
    let rest = r.0.len() - name - 1;
    decode_settok(output.get(..output.len() - rest).ok_or(BlockError::Short)?)
}

/// The payload of an rxrpc key in its first form: version, rxkad, ticket length, end, kvno, session key, ticket.
///
/// In host byte order; it has no room for cell, beginning and AFS id (Linux `include/keys/rxrpc-type.h`,
/// `struct rxrpc_key_data_v1`).
///
/// # Errors
/// [`BlockError`] if the token cannot be expressed.
pub fn encode_rxrpc_v1(token: &Token) -> Result<Zeroizing<Vec<u8>>, BlockError> {
    let (_, end) = check(token)?;
    let len = u16::try_from(token.ticket.len()).map_err(|_| BlockError::Ticket(token.ticket.len()))?;
    let mut out = Zeroizing::new(Vec::with_capacity(24 + token.ticket.len()));
    out.extend_from_slice(&1u32.to_ne_bytes());
    out.extend_from_slice(&2u16.to_ne_bytes());
    out.extend_from_slice(&len.to_ne_bytes());
    out.extend_from_slice(&end.to_ne_bytes());
    out.extend_from_slice(&token.kvno.to_ne_bytes());
    out.extend_from_slice(&token.key.0);
    out.extend_from_slice(&token.ticket);
    Ok(out)
}

/// The input of VIOC_SETTOK2, and the payload of an rxrpc key, for a token.
///
/// # Errors
/// [`BlockError`] if the token cannot be expressed.
pub fn encode_xdr(token: &Token) -> Result<Zeroizing<Vec<u8>>, BlockError> {
    let (begin, end) = check(token)?;
    let padded = token.ticket.len().next_multiple_of(4);
    // Type, id, version; key; begin, end, primary; length of the ticket; ticket.
    let inner = 3 * 4 + 8 + 3 * 4 + 4 + padded;
    let cell = token.cell.as_str().as_bytes();
    let mut out = Zeroizing::new(Vec::with_capacity(4 * 4 + cell.len().next_multiple_of(4) + inner + 4));
    let mut u32s = |n: u32| out.extend_from_slice(&n.to_be_bytes());
    u32s(0);
    u32s(length(cell.len()));
    out.extend_from_slice(cell);
    pad(&mut out, cell.len());
    out.extend_from_slice(&1u32.to_be_bytes());
    out.extend_from_slice(&length(inner).to_be_bytes());
    out.extend_from_slice(&XDR_KAD.to_be_bytes());
    out.extend_from_slice(&token.afs_id.to_be_bytes());
    out.extend_from_slice(&token.kvno.to_be_bytes());
    out.extend_from_slice(&token.key.0);
    out.extend_from_slice(&begin.to_be_bytes());
    out.extend_from_slice(&end.to_be_bytes());
    out.extend_from_slice(&0u32.to_be_bytes());
    out.extend_from_slice(&length(token.ticket.len()).to_be_bytes());
    out.extend_from_slice(&token.ticket);
    pad(&mut out, token.ticket.len());
    Ok(out)
}

/// Reads the XDR form, with exactly one rxkad token in it.
///
/// # Errors
/// [`BlockError`] says what is wrong with it.
pub fn decode_xdr(bytes: &[u8]) -> Result<Token, BlockError> {
    let mut r = Reader(bytes);
    let flags = i32::from_be_bytes(r.array()?);
    if flags != 0 {
        return Err(BlockError::Flags(flags));
    }
    let len = r.net()?;
    let cell = cell(r.padded(len, Cell::MAX)?)?;
    let tokens = r.net()?;
    if tokens != 1 {
        return Err(if tokens > XDR_TOKENS_MAX { BlockError::Long } else { BlockError::Kind });
    }
    let len = r.net()?;
    let inner = r.padded(len, XDR_OPAQUE_MAX)?;
    r.end()?;
    let mut r = Reader(inner);
    if i32::from_be_bytes(r.array()?) != XDR_KAD {
        return Err(BlockError::Kind);
    }
    let afs_id = i32::from_be_bytes(r.array()?);
    let kvno = i32::from_be_bytes(r.array()?);
    let key = SessionKey(r.array()?);
    let begin = r.net()?;
    let end = r.net()?;
    let _primary = r.net()?;
    let len = r.net()?;
    let ticket = r.ticket(len)?;
    r.padding(ticket.len())?;
    r.end()?;
    let token = Token { cell, afs_id, kvno, key, begin: begin.into(), end: end.into(), ticket };
    times(&token)?;
    Ok(token)
}

/// Fills up to a multiple of four.
fn pad(out: &mut Vec<u8>, len: usize) {
    out.extend(core::iter::repeat_n(0, len.next_multiple_of(4) - len));
}

/// A cell's name as text.
///
/// # Errors
/// [`BlockError`] says what is wrong.
fn cell(name: &[u8]) -> Result<Cell, BlockError> {
    let name = core::str::from_utf8(name).map_err(|_| BlockError::CellText)?;
    Cell::new(name).map_err(BlockError::Cell)
}

/// Reads from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// `n` bytes.
    ///
    /// # Errors
    /// [`BlockError`] says what is wrong.
    fn take(&mut self, n: usize) -> Result<&'a [u8], BlockError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(BlockError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    /// `N` bytes.
    ///
    /// # Errors
    /// [`BlockError`] says what is wrong.
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BlockError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(BlockError::Short)?;
        self.0 = tail;
        Ok(*head)
    }

    /// A number in host order.
    ///
    /// # Errors
    /// [`BlockError`] says what is wrong.
    fn host(&mut self) -> Result<u32, BlockError> {
        self.array().map(u32::from_ne_bytes)
    }

    /// A number in network order.
    ///
    /// # Errors
    /// [`BlockError`] says what is wrong.
    fn net(&mut self) -> Result<u32, BlockError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A ticket.
    ///
    /// # Errors
    /// [`BlockError`] says what is wrong.
    fn ticket(&mut self, len: u32) -> Result<Zeroizing<Vec<u8>>, BlockError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if !(Token::TICKET_MIN..=Token::TICKET_MAX).contains(&len) {
            return Err(BlockError::Ticket(len));
        }
        self.take(len).map(|t| Zeroizing::new(t.to_vec()))
    }

    /// Bytes that are filled up to a multiple of four.
    ///
    /// # Errors
    /// [`BlockError`] says what is wrong.
    fn padded(&mut self, len: u32, max: usize) -> Result<&'a [u8], BlockError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > max {
            return Err(BlockError::Long);
        }
        let bytes = self.take(len)?;
        self.padding(len)?;
        Ok(bytes)
    }

    /// What fills `len` bytes up.
    ///
    /// # Errors
    /// [`BlockError`] says what is wrong.
    fn padding(&mut self, len: usize) -> Result<(), BlockError> {
        self.take(len.next_multiple_of(4) - len).map(drop)
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`BlockError`] says what is wrong.
    fn end(&self) -> Result<(), BlockError> {
        if self.0.is_empty() { Ok(()) } else { Err(BlockError::Long) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(ticket: usize) -> Token {
        Token {
            cell: Cell::new("example.com").unwrap(),
            afs_id: 1001,
            kvno: 5,
            key: SessionKey([1, 2, 3, 4, 5, 6, 7, 8]),
            begin: 1_700_000_000,
            end: 1_700_036_000,
            ticket: Zeroizing::new(vec![0xAB; ticket]),
        }
    }

    fn same(a: &Token, b: &Token) -> bool {
        a.cell == b.cell
            && a.afs_id == b.afs_id
            && a.kvno == b.kvno
            && a.key.0 == b.key.0
            && (a.begin, a.end) == (b.begin, b.end)
            && a.ticket == b.ticket
    }

    #[test]
    fn d41_length_of_the_block_counts_the_nul_of_the_cell() {
        // 4 + 56 + 4 + 24 + 4 + 11 + 1: the original counted one less, and the cell was searched by chance (D41).
        let block = encode_settok(&token(56)).unwrap();
        assert_eq!(block.len(), 104);
        assert_eq!(block.last(), Some(&0));
        assert!(block.ends_with(b"example.com\0"));
        assert!(decode_settok(&block[..103]).is_err());
    }

    #[test]
    fn longest_ticket_fits_and_longer_ones_do_not() {
        for (len, fits) in [(31, false), (32, true), (12_000, true), (12_001, false)] {
            let t = token(len);
            assert_eq!(encode_settok(&t).is_ok(), fits, "{len}");
            assert_eq!(encode_xdr(&t).is_ok(), fits, "{len}");
            if fits {
                assert!(same(&decode_settok(&encode_settok(&t).unwrap()).unwrap(), &t));
                assert!(same(&decode_xdr(&encode_xdr(&t).unwrap()).unwrap(), &t));
            }
        }
        let mut t = token(12_000);
        t.cell = Cell::new(&"c".repeat(63)).unwrap();
        assert_eq!(encode_settok(&t).unwrap().len(), SETTOK_MAX);
    }

    #[test]
    fn times_after_2038_pass_and_after_2106_are_refused() {
        let mut t = token(40);
        t.end = 3_000_000_000;
        assert_eq!(decode_settok(&encode_settok(&t).unwrap()).unwrap().end, 3_000_000_000);
        t.end = 5_000_000_000;
        assert_eq!(encode_settok(&t).unwrap_err(), BlockError::Times);
        t.end = t.begin;
        assert_eq!(encode_xdr(&t).unwrap_err(), BlockError::Times);
    }

    #[test]
    fn a_block_that_asks_for_a_new_pag_is_refused() {
        let mut block = encode_settok(&token(32)).unwrap();
        let at = 4 + 32 + 4 + 24;
        block[at..at + 4].copy_from_slice(&0x8001i32.to_ne_bytes());
        assert_eq!(decode_settok(&block).unwrap_err(), BlockError::Flags(0x8001));
    }

    #[test]
    fn xdr_has_the_layout_that_the_key_type_reads() {
        let x = encode_xdr(&token(33)).unwrap();
        // flags, cell, one token of 4 * 6 + 8 + 4 + 36 bytes.
        assert_eq!(&x[..8], &[0, 0, 0, 0, 0, 0, 0, 11]);
        assert_eq!(&x[8..20], b"example.com\0");
        assert_eq!(&x[20..28], &[0, 0, 0, 1, 0, 0, 0, 72]);
        assert_eq!(x.len(), 28 + 72);
    }

    #[test]
    fn what_the_client_writes_ends_at_the_nul_of_the_cell() {
        let mut out = encode_settok(&token(56)).unwrap().to_vec();
        out.resize(12_288, 0xAA);
        assert!(same(&decode_gettok(&out).unwrap(), &token(56)));
        out.truncate(103);
        assert_eq!(decode_gettok(&out).unwrap_err(), BlockError::CellText);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_first_form_of_a_key_has_the_layout_that_the_kernel_reads() {
        let mut t = token(33);
        t.end = 0x0102_0304;
        t.begin = 1;
        let x = encode_rxrpc_v1(&t).unwrap();
        assert_eq!(&x[..16], &[1, 0, 0, 0, 2, 0, 33, 0, 4, 3, 2, 1, 5, 0, 0, 0]);
        assert_eq!(&x[16..24], &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(x.len(), 24 + 33);
        assert_eq!(encode_rxrpc_v1(&token(12_001)).unwrap_err(), BlockError::Ticket(12_001));
    }

    proptest! {
        #[test]
        fn any_token_comes_back(
            ticket in proptest::collection::vec(any::<u8>(), 32..400),
            name in "[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,2}",
            key: [u8; 8], afs_id: i32, kvno in 0..=256i32, begin in 0..u32::MAX - 1, life in 1u32..1_000_000,
        ) {
            let t = Token {
                cell: Cell::new(&name).unwrap(), afs_id, kvno, key: SessionKey(key), begin: begin.into(),
                end: i64::from(begin.saturating_add(life)), ticket: Zeroizing::new(ticket),
            };
            prop_assert!(same(&decode_settok(&encode_settok(&t).unwrap()).unwrap(), &t));
            prop_assert!(same(&decode_xdr(&encode_xdr(&t).unwrap()).unwrap(), &t));
            prop_assert!(same(&decode_gettok(&encode_settok(&t).unwrap()).unwrap(), &t));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_settok(&bytes);
            let _ = decode_gettok(&bytes);
            let _ = decode_xdr(&bytes);
        }

        #[test]
        fn a_cut_block_is_an_error(cut in 0usize..104) {
            let b = encode_settok(&token(56)).unwrap();
            prop_assert!(decode_settok(&b[..cut]).is_err());
            let x = encode_xdr(&token(56)).unwrap();
            prop_assert!(decode_xdr(&x[..cut.min(x.len() - 1)]).is_err());
        }
    }
}
