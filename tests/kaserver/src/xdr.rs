//! The few XDR types that kauth uses, plus its two byte sequences.

/// Reads XDR off the front of a packet; every method gives `None` where the bytes do not reach.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// An unsigned number of 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    /// A signed number of 32 bits.
    pub fn i32(&mut self) -> Option<i32> {
        self.u32().map(u32::cast_signed)
    }

    /// `length` bytes and the zeroes that fill them up to a multiple of four.
    pub fn opaque(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        let (_fill, rest) = rest.split_at_checked(length.next_multiple_of(4) - length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// A string of at most `max` bytes.
    pub fn string(&mut self, max: usize) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok().filter(|length| *length <= max)?;
        self.opaque(length)
    }
}

/// Writes XDR.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An unsigned number of 32 bits.
    pub fn u32(&mut self, number: u32) -> &mut Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// A length and the bytes, filled up with zeroes to a multiple of four.
    pub fn string(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// What was written.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_filled_to_four_bytes() {
        let bytes = Writer::default().string(b"alice").u32(7).finish();
        assert_eq!(bytes, b"\0\0\0\x05alice\0\0\0\0\0\0\x07");
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.string(64), Some(b"alice".as_slice()));
        assert_eq!(reader.u32(), Some(7));
        assert_eq!(reader.u32(), None);
    }

    #[test]
    fn lengths_beyond_the_packet_or_the_limit_are_refused() {
        assert_eq!(Reader::new(b"\0\0\0\x05alice").string(64), None);
        assert_eq!(Reader::new(b"\0\0\0\x05alice\0\0\0").string(4), None);
        assert_eq!(Reader::new(b"\xff\xff\xff\xffalice\0\0\0").string(usize::MAX), None);
    }
}
