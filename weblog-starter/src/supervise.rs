//! What the nanny does about what happens. Pure: (state, event) to (state, actions); the time is an argument.

use crate::Error;
use crate::backoff::Backoff;
use core::fmt;
use weblog_fds::{BEAT_MS, versions::OTHER_VERSION};

/// How long a broker may take to end when it is asked to.
const GRACE_MS: u64 = 1_000;
/// It is killed when it has not beaten between so many looks. They are counted, not the time alone: where everything stood
/// still, as in a virtual machine that was paused, the broker gets its time again.
const SILENT_LOOKS: u8 = 6;
/// The same for one that has never beaten: its start waits for the user database, which may have timeouts of its own.
const START_LOOKS: u8 = 24;

/// How a broker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It could not even be started.
    NotStarted,
}

impl End {
    /// So ends a program of another version than those who would talk to it; or, with wrong arguments, one that is too old
    /// to be asked for its version.
    #[must_use]
    pub fn is_of_another_version(self) -> bool {
        matches!(self, Self::Exit(code) if code == OTHER_VERSION.into() || code == Error::USAGE.into())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) if *code == OTHER_VERSION.into() => {
                write!(f, "its program is of another version (exit code {code})")
            }
            Self::Exit(78) => f.write_str("its configuration cannot be used (exit code 78)"),
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::NotStarted => f.write_str("it could not be started"),
        }
    }
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A configuration has come from the parent.
    Config,
    /// How often brokers have beaten up to now.
    Beats(u64),
    /// The broker says that it is ready, and its generation.
    Ready(u64),
    /// The broker says what it cannot mean.
    Astray,
    /// The broker has closed its control socket: it is about to end, or is of no use any more.
    Deaf,
    /// The broker has ended and was reaped.
    Ended(End),
    /// The parent is gone, or somebody asks the nanny to end.
    Quit,
}

/// Why a broker is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It says what it cannot mean.
    Astray,
    /// It has closed its socket, but does not end.
    Deaf,
    /// It has not come to its work.
    Late,
    /// It does nothing any more.
    Silent,
    /// It was asked to end, but does not.
    Stays,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Astray => "it says what no broker of its generation can",
            Self::Deaf => "it has closed its control socket and does not end",
            Self::Late => "it has not come to its work within two minutes",
            Self::Silent => "it has shown no sign of life for half a minute",
            Self::Stays => "it was asked to end and does not",
        })
    }
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start a broker with this generation.
    Start(u64),
    /// Send it the last configuration.
    SendConfig,
    /// Tell the parent that the broker of this generation is ready.
    ReportReady(u64),
    /// Tell the parent that it has ended.
    ReportDown(End),
    /// Ask it to end.
    AskToQuit,
    /// Kill it.
    Kill(Why),
    /// End the nanny.
    Leave,
}

/// Where things stand.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// No broker; the next one starts at this time.
    Waiting {
        /// Milliseconds.
        until_ms: u64,
    },
    /// There is one.
    Running {
        /// Since when.
        since_ms: u64,
        /// Has it said so?
        ready: bool,
        /// Has a configuration come that it may not have read yet?
        news: bool,
        /// It is killed at this time, unless it has ended by itself.
        kill_ms: Option<u64>,
        /// When to look for its beats.
        look_ms: u64,
        /// Looks since the last one.
        silent: u8,
        /// Has it ever beaten?
        beaten: bool,
    },
    /// No broker, and none until another configuration comes.
    Refused,
    /// It was asked to end, and is killed at this time.
    Leaving {
        /// Milliseconds.
        until_ms: u64,
    },
    /// All over.
    Gone,
}

/// The nanny's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Where things stand.
    phase: Phase,
    /// Generation of the last broker.
    generation: u64,
    /// Is there a configuration?
    has_config: bool,
    /// How often brokers have beaten, as far as is known.
    beats: u64,
    /// The same at the last look at the one that runs.
    counted: u64,
    /// Delays.
    backoff: Backoff,
}

impl State {
    /// At the start, without a broker. The first one will have the generation behind `generation`; those of an earlier
    /// nanny have beaten so often.
    #[must_use]
    pub fn new(generation: u64, beats: u64, now_ms: u64) -> Self {
        Self {
            phase: Phase::Waiting { until_ms: now_ms },
            generation,
            has_config: false,
            beats,
            counted: beats,
            backoff: Backoff::default(),
        }
    }

    /// When the next [`Event::Tick`] is due; `None` = not before something else happens.
    #[must_use]
    pub fn next_tick_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Waiting { until_ms } | Phase::Leaving { until_ms } => Some(until_ms),
            Phase::Running { kill_ms, look_ms, .. } => Some(kill_ms.map_or(look_ms, |at| at.min(look_ms))),
            _ => None,
        }
    }

    /// The state after `event`, and what to do, in this order.
    #[must_use]
    pub fn step(mut self, event: Event, now_ms: u64) -> (Self, Vec<Action>) {
        if let Event::Beats(beats) = event {
            self.beats = beats;
        }
        let actions = match (&mut self.phase, event) {
            (Phase::Gone, _) => vec![],
            (Phase::Waiting { until_ms }, Event::Tick) if now_ms >= *until_ms => self.start(now_ms),
            (Phase::Refused, Event::Config) => {
                self.has_config = true;
                self.start(now_ms)
            }
            (Phase::Running { news, .. }, Event::Config) => {
                *news = true;
                self.has_config = true;
                vec![Action::SendConfig]
            }
            (_, Event::Config) => {
                self.has_config = true;
                vec![]
            }
            (Phase::Running { ready, .. }, Event::Ready(generation)) if generation == self.generation => {
                *ready = true;
                vec![Action::ReportReady(generation)]
            }
            (Phase::Running { .. }, Event::Ready(_) | Event::Astray) => vec![Action::Kill(Why::Astray)],
            (Phase::Running { look_ms, silent, beaten, .. }, Event::Beats(beats)) if now_ms >= *look_ms => {
                *look_ms = now_ms.saturating_add(BEAT_MS);
                *beaten |= beats != self.counted;
                *silent = if beats == self.counted { silent.saturating_add(1) } else { 0 };
                self.counted = beats;
                let (looks, why) =
                    if *beaten { (SILENT_LOOKS, Why::Silent) } else { (START_LOOKS, Why::Late) };
                if *silent < looks {
                    vec![]
                } else {
                    // Once more after the same time: it may take a while until it can be killed.
                    *silent = 0;
                    vec![Action::Kill(why)]
                }
            }
            (Phase::Running { kill_ms, .. }, Event::Deaf) => {
                // Whoever ends closes its socket a little before its end, which says more.
                *kill_ms = Some(now_ms.saturating_add(GRACE_MS));
                vec![]
            }
            (Phase::Running { kill_ms, .. }, Event::Tick) if kill_ms.is_some_and(|at| now_ms >= at) => {
                *kill_ms = Some(now_ms.saturating_add(GRACE_MS));
                vec![Action::Kill(Why::Deaf)]
            }
            (&mut Phase::Running { since_ms, ready, news, .. }, Event::Ended(end)) => {
                self.phase = if end == End::Exit(Error::CONFIG.into()) && !news {
                    Phase::Refused
                } else {
                    let lived_ms = now_ms.saturating_sub(since_ms);
                    let delay = self.backoff.ended(now_ms, lived_ms, ready);
                    Phase::Waiting { until_ms: now_ms.saturating_add(delay) }
                };
                vec![Action::ReportDown(end)]
            }
            (Phase::Running { .. }, Event::Quit) => {
                self.phase = Phase::Leaving { until_ms: now_ms.saturating_add(GRACE_MS) };
                vec![Action::AskToQuit]
            }
            (Phase::Leaving { until_ms }, Event::Tick) if now_ms >= *until_ms => {
                // Again and again: the nanny leaves nobody behind.
                *until_ms = now_ms.saturating_add(GRACE_MS);
                vec![Action::Kill(Why::Stays)]
            }
            (Phase::Leaving { .. }, Event::Ended(_))
            | (Phase::Waiting { .. } | Phase::Refused, Event::Quit) => {
                self.phase = Phase::Gone;
                vec![Action::Leave]
            }
            _ => vec![],
        };
        (self, actions)
    }

    /// The next broker.
    fn start(&mut self, now_ms: u64) -> Vec<Action> {
        self.generation = self.generation.saturating_add(1);
        self.phase = Phase::Running {
            since_ms: now_ms,
            ready: false,
            news: false,
            kill_ms: None,
            look_ms: now_ms.saturating_add(BEAT_MS),
            silent: 0,
            beaten: false,
        };
        self.counted = self.beats;
        let mut actions = vec![Action::Start(self.generation)];
        if self.has_config {
            actions.push(Action::SendConfig);
        }
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs events through and checks the actions of each.
    fn check(steps: &[(u64, Event, &[Action])]) -> State {
        let mut state = State::new(100, 0, 0);
        for (now, event, want) in steps {
            let (next, got) = state.step(*event, *now);
            assert_eq!(got, *want, "at {now}: {event:?}");
            state = next;
        }
        state
    }

    const STARTED: (u64, Event, &[Action]) = (0, Event::Tick, &[Action::Start(101)]);

    #[test]
    fn starts_at_once_and_hands_on_each_configuration() {
        check(&[
            STARTED,
            (5, Event::Config, &[Action::SendConfig]),
            (6, Event::Ready(101), &[Action::ReportReady(101)]),
            (7, Event::Config, &[Action::SendConfig]),
        ]);
        check(&[(0, Event::Config, &[]), (0, Event::Tick, &[Action::Start(101), Action::SendConfig])]);
    }

    #[test]
    fn a_dead_broker_is_replaced_with_a_higher_generation_and_the_last_configuration() {
        let end = End::Signal(9);
        let state = check(&[
            STARTED,
            (5, Event::Config, &[Action::SendConfig]),
            (6, Event::Ready(101), &[Action::ReportReady(101)]),
            (50, Event::Ended(end), &[Action::ReportDown(end)]),
            (51, Event::Tick, &[]),
            (70, Event::Tick, &[Action::Start(102), Action::SendConfig]),
        ]);
        assert_eq!(state.next_tick_ms(), Some(70 + BEAT_MS));
    }

    /// At which look a broker is killed, and why, that beats at these looks only.
    fn killed(state: &State, beats_at: &[u64]) -> (u64, Why, State) {
        let mut state = state.clone();
        let mut beats = state.beats;
        for look in 1..100 {
            let at = look * BEAT_MS;
            assert_eq!(state.next_tick_ms(), Some(at));
            beats += u64::from(beats_at.contains(&look));
            // More often than every five seconds is not counted.
            for early in [at - BEAT_MS + 1, at - 1] {
                let (next, actions) = state.step(Event::Beats(beats), early);
                assert_eq!(actions, []);
                state = next;
            }
            let (next, actions) = state.step(Event::Beats(beats), at);
            state = next;
            match actions.as_slice() {
                [] => {}
                [Action::Kill(why)] => return (look, *why, state),
                other => panic!("{other:?}"),
            }
        }
        panic!("it lives");
    }

    #[test]
    fn a_broker_without_a_sign_of_life_is_killed_whether_it_was_ready_or_not() {
        for ready in [false, true] {
            // Those before it have beaten.
            let (mut state, _) = State::new(100, 7, 0).step(Event::Tick, 0);
            if ready {
                state = state.step(Event::Ready(101), 0).0;
            }
            assert!(matches!(killed(&state, &[]), (24, Why::Late, _)));
            assert!(matches!(killed(&state, &[1]), (7, Why::Silent, _)));
            assert!(matches!(killed(&state, &[20]), (26, Why::Silent, _)));
            let (look, why, state) = killed(&state, &[1, 6, 12, 17]);
            assert_eq!((look, why), (23, Why::Silent));
            // It may take its time to die, and is killed again.
            let again = (24..29).fold(state.clone(), |s, look| {
                let (s, actions) = s.step(Event::Beats(11), look * BEAT_MS);
                assert_eq!(actions, []);
                s
            });
            assert_eq!(again.step(Event::Beats(11), 29 * BEAT_MS).1, [Action::Kill(Why::Silent)]);
            // The next one has its own time, and beats of its own.
            let (state, actions) = state.step(Event::Ended(End::Signal(9)), 24 * BEAT_MS);
            assert_eq!(actions, [Action::ReportDown(End::Signal(9))]);
            let (state, _) = state.step(Event::Beats(12), 25 * BEAT_MS);
            let (mut state, actions) = state.step(Event::Tick, 25 * BEAT_MS);
            assert_eq!(actions, [Action::Start(102)]);
            for look in 26..49 {
                let (next, actions) = state.step(Event::Beats(12), look * BEAT_MS);
                assert_eq!(actions, [], "{look}");
                state = next;
            }
            assert_eq!(state.step(Event::Beats(12), 49 * BEAT_MS).1, [Action::Kill(Why::Late)]);
        }
    }

    #[test]
    fn a_pause_of_everything_counts_once() {
        let mut state = check(&[STARTED]);
        for look in 1..100 {
            let (next, actions) = state.step(Event::Beats(look / 5), look * BEAT_MS);
            assert_eq!(actions, [], "{look}");
            state = next;
        }
        let (state, actions) = state.step(Event::Beats(19), 1_000 * BEAT_MS);
        assert_eq!((actions, state.next_tick_ms()), (vec![], Some(1_001 * BEAT_MS)));
    }

    #[test]
    fn a_broker_that_refuses_its_configuration_is_not_started_again_until_another_comes() {
        let end = End::Exit(78);
        check(&[
            STARTED,
            (1, Event::Config, &[Action::SendConfig]),
            // It may have refused an older one: once more with the new one alone.
            (5, Event::Ended(end), &[Action::ReportDown(end)]),
            (25, Event::Tick, &[Action::Start(102), Action::SendConfig]),
            (30, Event::Ended(end), &[Action::ReportDown(end)]),
            (1_000_000, Event::Tick, &[]),
            (1_000_001, Event::Config, &[Action::Start(103), Action::SendConfig]),
        ]);
    }

    #[test]
    fn other_exit_codes_and_failed_starts_are_tried_again() {
        for end in [End::Exit(0), End::Exit(1), End::Signal(11), End::NotStarted] {
            check(&[
                STARTED,
                (5, Event::Ended(end), &[Action::ReportDown(end)]),
                (25, Event::Tick, &[Action::Start(102)]),
            ]);
        }
    }

    #[test]
    fn a_broker_that_lies_about_its_generation_is_killed() {
        check(&[STARTED, (1, Event::Ready(99), &[Action::Kill(Why::Astray)])]);
        check(&[STARTED, (1, Event::Astray, &[Action::Kill(Why::Astray)])]);
    }

    #[test]
    fn a_broker_that_closes_its_socket_may_still_say_why_by_its_exit_code() {
        let end = End::Exit(78);
        check(&[
            STARTED,
            (1, Event::Deaf, &[]),
            (2, Event::Tick, &[]),
            (3, Event::Ended(end), &[Action::ReportDown(end)]),
        ]);
        let state =
            check(&[STARTED, (1, Event::Deaf, &[]), (1_001, Event::Tick, &[Action::Kill(Why::Deaf)])]);
        assert_eq!(state.next_tick_ms(), Some(2_001));
    }

    #[test]
    fn leaves_after_its_broker_and_kills_it_if_it_does_not_end() {
        let state = check(&[
            STARTED,
            (10, Event::Quit, &[Action::AskToQuit]),
            (11, Event::Quit, &[]),
            (12, Event::Config, &[]),
            (1_009, Event::Tick, &[]),
            (1_010, Event::Tick, &[Action::Kill(Why::Stays)]),
            (2_010, Event::Tick, &[Action::Kill(Why::Stays)]),
            (2_011, Event::Ended(End::Signal(9)), &[Action::Leave]),
            (9_999, Event::Tick, &[]),
            (9_999, Event::Config, &[]),
        ]);
        assert_eq!(state.next_tick_ms(), None);
    }

    #[test]
    fn leaves_at_once_without_a_broker() {
        check(&[(0, Event::Quit, &[Action::Leave])]);
        check(&[
            STARTED,
            (5, Event::Ended(End::Exit(78)), &[Action::ReportDown(End::Exit(78))]),
            (6, Event::Quit, &[Action::Leave]),
        ]);
    }

    #[test]
    fn events_that_come_late_do_no_harm() {
        check(&[
            STARTED,
            (5, Event::Ended(End::Exit(1)), &[Action::ReportDown(End::Exit(1))]),
            (6, Event::Ready(101), &[]),
            (6, Event::Astray, &[]),
            (6, Event::Ended(End::Exit(1)), &[]),
        ]);
    }
}
