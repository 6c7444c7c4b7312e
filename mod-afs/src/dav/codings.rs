//! Whether a body that is to be stored is the file itself, or something that would have to be decoded first.
//!
//! httpd takes a body apart into chunks and knows no other coding: what comes in one would be stored as it came, and served
//! as the file. Pure: knows headers only.

/// Does a body come in another transfer coding than chunks, once?
#[must_use]
pub fn is_strange(transfer_encoding: Option<&[u8]>) -> bool {
    transfer_encoding.is_some_and(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// Is a file to be stored in a coding, of which AFS has no place to say so?
#[must_use]
pub fn is_coded(content_encoding: Option<&[u8]>) -> bool {
    content_encoding.is_some_and(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_whole_or_in_chunks_and_in_nothing_else() {
        for (coding, strange) in [
            (None, false),
            (Some(&b"chunked"[..]), false),
            (Some(b" Chunked "), false),
            (Some(b"gzip, chunked"), true),
            (Some(b"chunked, chunked"), true),
            (Some(b"identity"), true),
            (Some(b""), true),
        ] {
            assert_eq!(is_strange(coding), strange, "{coding:?}");
        }
    }

    #[test]
    fn a_file_is_stored_as_it_is_or_not_at_all() {
        for (coding, coded) in [
            (None, false),
            (Some(&b"identity"[..]), false),
            (Some(b""), false),
            (Some(b"gzip"), true),
            (Some(b"GZIP"), true),
            (Some(b"br, identity"), true),
        ] {
            assert_eq!(is_coded(coding), coded, "{coding:?}");
        }
    }
}
