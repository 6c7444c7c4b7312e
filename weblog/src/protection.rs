//! Calls of the protection server as they go over Rx: what is asked, what is answered.
//!
//! Pure. All numbers big-endian, four bytes each; so is each byte of a name, of which there are always 64.
//!
//! Source: OpenAFS `src/ptserver/ptint.xg`.

/// Bytes of a name, with at least one NUL (`PR_MAXNAMELEN`).
const NAME: usize = 64;
/// Numbers of the calls.
const NAME_TO_ID: i32 = 504;
const GET_CPS: i32 = 508;
const LIST_ENTRY: i32 = 512;
/// Numbers before the name in the answer about an entry.
const ENTRY_NUMBERS: usize = 12;

/// Asks for the id of a name; nothing if the name is too long.
#[must_use]
pub fn name_to_id(name: &str) -> Option<Vec<u8>> {
    let bytes = name.as_bytes();
    if bytes.len() >= NAME || bytes.contains(&0) {
        return None;
    }
    let name = bytes.iter().copied().chain(core::iter::repeat(0)).take(NAME);
    // C's characters have a sign.
    let characters = name.map(|byte| i32::from(byte.cast_signed()));
    Some([NAME_TO_ID, 1].into_iter().chain(characters).flat_map(i32::to_be_bytes).collect())
}

/// Asks for what is said about an entry.
#[must_use]
pub fn list_entry(id: i32) -> Vec<u8> {
    [LIST_ENTRY, id].into_iter().flat_map(i32::to_be_bytes).collect()
}

/// Asks for the groups of an entry.
#[must_use]
pub fn get_cps(id: i32) -> Vec<u8> {
    [GET_CPS, id].into_iter().flat_map(i32::to_be_bytes).collect()
}

/// Room for the answers that are looked at, in bytes.
pub const ANSWER: usize = 4 * (ENTRY_NUMBERS + NAME);

/// What is said about an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who may see what: the privacy bits.
    pub flags: i32,
    /// AFS id.
    pub id: i32,
    /// Its name.
    pub name: Vec<u8>,
}

/// The numbers of an answer.
fn numbers(answer: &[u8]) -> impl Iterator<Item = i32> {
    answer.as_chunks::<4>().0.iter().map(|bytes| i32::from_be_bytes(*bytes))
}

/// The id in the answer to [`name_to_id`].
#[must_use]
pub fn id_of(answer: &[u8]) -> Option<i32> {
    let mut numbers = numbers(answer);
    (numbers.next()? == 1).then(|| numbers.next())?
}

/// The entry in the answer to [`list_entry`].
#[must_use]
pub fn entry_of(answer: &[u8]) -> Option<Entry> {
    let all: Vec<i32> = numbers(answer).collect();
    let (fields, name) = all.split_at_checked(ENTRY_NUMBERS)?;
    let [flags, id, ..] = fields else { return None };
    let name: Vec<u8> = name.iter().map(|c| c.to_be_bytes()[3]).collect();
    let length = name.iter().position(|byte| *byte == 0).filter(|_| name.len() == NAME)?;
    Some(Entry { flags: *flags, id: *id, name: name.into_iter().take(length).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(numbers: &[i32], name: &[u8]) -> Vec<u8> {
        let mut padded = name.to_vec();
        padded.resize(NAME, 0);
        let name = padded.iter().map(|b| i32::from(b.cast_signed()));
        numbers.iter().copied().chain(name).flat_map(i32::to_be_bytes).collect()
    }

    #[test]
    fn questions_have_the_shape_that_servers_read() {
        let asked = name_to_id("al\u{fc}").unwrap();
        assert_eq!(asked.len(), 8 + 4 * NAME);
        assert_eq!(
            asked[..20],
            [0, 0, 1, 248, 0, 0, 0, 1, 0, 0, 0, b'a', 0, 0, 0, b'l', 255, 255, 255, 0xc3]
        );
        assert!(asked[24..].iter().all(|b| *b == 0));
        assert_eq!(list_entry(1001), [0, 0, 2, 0, 0, 0, 3, 233]);
        assert_eq!(get_cps(-2), [0, 0, 1, 252, 255, 255, 255, 254]);
        assert!(name_to_id(&"a".repeat(NAME - 1)).is_some());
        assert!(name_to_id(&"a".repeat(NAME)).is_none() && name_to_id("a\0b").is_none());
    }

    #[test]
    fn answers_are_read_or_are_nothing() {
        assert_eq!(id_of(&[0, 0, 0, 1, 0, 0, 3, 233]), Some(1001));
        for bad in [&[][..], &[0, 0, 0, 1], &[0, 0, 0, 0], &[0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1], &[0, 0, 0]]
        {
            assert_eq!(id_of(bad), None, "{bad:?}");
        }
        let mut fields = [0; ENTRY_NUMBERS];
        fields[..3].copy_from_slice(&[0x80, 1001, -204]);
        let good = answer(&fields, "gr\u{fc}n".as_bytes());
        assert_eq!(good.len(), ANSWER);
        let entry = Entry { flags: 0x80, id: 1001, name: "gr\u{fc}n".into() };
        assert_eq!(entry_of(&good), Some(entry));
        assert_eq!(entry_of(&good[..ANSWER - 4]), None, "too short");
        assert_eq!(entry_of(&answer(&fields, &[b'a'; NAME])), None, "a name without end");
        assert_eq!(entry_of(&[]), None);
    }
}
