//! What goes wrong on request, for everybody or for one user.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lifetime::UNIT_S;

/// How requests are treated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mode {
    /// As a kaserver should.
    #[default]
    Normal,
    /// No answer to anything, as if the machine were off.
    Silent,
    /// Pings are acknowledged, calls never answered: a client without a limit of its own waits for ever.
    Hang,
    /// Answers come that much later; pings are acknowledged meanwhile.
    Delay(Duration),
    /// So many requests are lost on the way, retransmissions included.
    Drop(u32),
    /// Tickets for servers are sealed under a key that the cell does not have; the answer itself is good.
    ForgeKey,
    /// Tickets for servers are good ones, but another user's: `name` or `name.instance`.
    ForgeUser(String),
    /// Answers repeat another challenge than the client's.
    ForgeChallenge,
    /// Answers are random bytes of the right length.
    ForgeGarbage,
    /// Tickets for servers end after so many seconds: a ticket counts in units of five minutes, so they begin in the past.
    EndsIn(u32),
}

impl Mode {
    /// Reads a mode, as the control socket takes it.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| format!("{text:?} is not a number"));
        match words {
            ["normal"] => Ok(Self::Normal),
            ["silent"] => Ok(Self::Silent),
            ["hang"] => Ok(Self::Hang),
            ["delay", ms] => Ok(Self::Delay(Duration::from_millis(number(ms)?.into()))),
            ["drop", packets] => Ok(Self::Drop(number(packets)?)),
            ["forge-key"] => Ok(Self::ForgeKey),
            ["forge-user", user] => Ok(Self::ForgeUser((*user).to_owned())),
            ["forge-challenge"] => Ok(Self::ForgeChallenge),
            ["forge-garbage"] => Ok(Self::ForgeGarbage),
            ["ends-in", seconds] => match number(seconds)? {
                seconds @ 1..=UNIT_S => Ok(Self::EndsIn(seconds)),
                _ => Err(format!("a ticket ends in 1 to {UNIT_S} seconds")),
            },
            _ => Err("a mode is normal, silent, hang, delay MS, drop N, forge-key, forge-user NAME, \
                      forge-challenge, forge-garbage or ends-in SECONDS"
                .to_owned()),
        }
    }
}

/// The modes in force.
#[derive(Debug, Default)]
pub struct Mischief {
    /// For everybody who has no mode of his own.
    everybody: Mode,
    /// For single users.
    users: BTreeMap<String, Mode>,
}

impl Mischief {
    /// Sets the mode of `user`, or of everybody who has none of his own.
    ///
    /// Normal for everybody also takes the modes of single users away.
    pub fn set(&mut self, mode: Mode, user: Option<&str>) {
        match user {
            Some(user) => {
                self.users.insert(user.to_owned(), mode);
            }
            None => {
                if mode == Mode::Normal {
                    self.users.clear();
                }
                self.everybody = mode;
            }
        }
    }

    /// The mode that holds for `user`.
    fn slot(&mut self, user: &str) -> &mut Mode {
        self.users.get_mut(user).unwrap_or(&mut self.everybody)
    }

    /// The mode for a request of `user`; [`Mode::Drop`] is used up by it.
    pub fn request(&mut self, user: &str) -> Mode {
        let slot = self.slot(user);
        if let Mode::Drop(left) = slot {
            let Some(rest) = left.checked_sub(1) else {
                *slot = Mode::Normal;
                return Mode::Normal;
            };
            *left = rest;
            return Mode::Drop(1);
        }
        slot.clone()
    }

    /// Whether packets of `user` that are no requests are left unanswered.
    pub fn is_silent(&mut self, user: &str) -> bool {
        *self.slot(user) == Mode::Silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_own_mode_comes_first() {
        let mut mischief = Mischief::default();
        mischief.set(Mode::Silent, None);
        mischief.set(Mode::Normal, Some("alice"));
        assert_eq!(mischief.request("alice"), Mode::Normal);
        assert!(mischief.is_silent("bob"));
        mischief.set(Mode::Hang, Some("bob"));
        assert!(!mischief.is_silent("bob"));
        mischief.set(Mode::Normal, None);
        assert_eq!(mischief.request("bob"), Mode::Normal);
    }

    #[test]
    fn drops_are_used_up() {
        let mut mischief = Mischief::default();
        mischief.set(Mode::Drop(2), None);
        let seen: Vec<Mode> = (0..4).map(|_| mischief.request("alice")).collect();
        assert_eq!(seen, [Mode::Drop(1), Mode::Drop(1), Mode::Normal, Mode::Normal]);
    }

    #[test]
    fn modes_are_read_word_by_word() {
        assert_eq!(Mode::parse(&["delay", "500"]), Ok(Mode::Delay(Duration::from_millis(500))));
        assert_eq!(Mode::parse(&["forge-user", "mallory"]), Ok(Mode::ForgeUser("mallory".into())));
        for bad in [
            &[][..],
            &["delay"],
            &["delay", "-1"],
            &["drop", "x"],
            &["silent", "now"],
            &["forge"],
            &["ends-in", "301"],
        ] {
            assert!(Mode::parse(bad).is_err(), "{bad:?}");
        }
    }
}
