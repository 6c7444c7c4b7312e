//! Versions of what the processes have in common, so that those of two releases notice it before they misread each other.
//!
//! A version is raised with each change that the other side would misread, and by nothing else: what keeps its versions
//! goes on under a graceful restart with a new release.

/// 1 in programs that tests take for those of a later release (feature `next-version`), else 0.
pub const NEXT: u32 = if cfg!(feature = "next-version") { 1 } else { 0 };

/// The board: its fields and where they lie.
pub const BOARD: u32 = 3 + NEXT;
/// Control messages with what is in them, command lines, and numbers of descriptors.
pub const CONTROL: u32 = 1 + NEXT;
/// Tables in memory that httpd's processes share: locks and waiting workers.
pub const MEMORY: u32 = 1 + NEXT;

/// What a program of another version than the one that starts it ends with (`EX_PROTOCOL`).
pub const OTHER_VERSION: u8 = 76;

/// Those that the nanny has in common with httpd and broker, as the programs say them.
#[must_use]
pub fn of_nanny() -> String {
    format!("board={BOARD} control={CONTROL}")
}

/// Does a program that says `said` have all the versions that are `wanted`? Other words do not count.
#[must_use]
pub fn fits(said: &str, wanted: &str) -> bool {
    let mut wanted = versions(wanted).peekable();
    wanted.peek().is_some() && wanted.all(|word| versions(said).any(|w| w == word))
}

/// The words that name a version.
pub fn versions(text: &str) -> impl Iterator<Item = &str> {
    text.split_ascii_whitespace().filter(|word| word.contains('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_fits_if_it_has_all_that_is_wanted_in_just_that_version() {
        for (said, wanted, want) in [
            ("weblog 0.1.0 frames=3 board=2 control=1", "frames=3 board=2 control=1", true),
            ("weblog 0.1.0 frames=3 board=2 control=1", "board=2", true),
            ("control=1 board=2", "board=2 control=1", true),
            ("weblog 0.1.0 frames=4 board=2 control=1", "frames=3 board=2 control=1", false),
            ("frames=31 board=2", "frames=3", false),
            ("weblog 0.1.0", "frames=3", false),
            ("", "frames=3", false),
            ("frames=3", "", false),
        ] {
            assert_eq!(fits(said, wanted), want, "{said} / {wanted}");
        }
        assert!(fits(&of_nanny(), &of_nanny()));
    }
}
