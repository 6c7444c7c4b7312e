//! Packets in, packets out: calls of one packet over Rx, each answered once and repeated from memory.
//!
//! Knows no sockets and no clock; the time and the source of keys are given to it.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::Config;
use crate::database::{Code, Database, Grant, Keys};
use crate::des::Key;
use crate::error::Error;
use crate::granted::Granted;
use crate::kauth::{Call, NoCall, Version, code, reply_body};
use crate::lifetime::UNIT_S;
use crate::mischief::{Mischief, Mode};
use crate::rx::{
    ABORT, ACK, CLIENT_INITIATED, DATA, Header, INVALID_OPERATION, Reason, UNKNOWN_OPERATION, abort_body,
    ack_body,
};
use crate::stats::Stats;

/// Connections that are remembered; the oldest is forgotten first.
const CONNECTIONS_MAX: usize = 1024;
/// Answers that may wait for their time.
const DELAYED_MAX: usize = 1024;
/// Lines that wait to be logged.
const LOG_MAX: usize = 1024;

/// Both clocks, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Seconds since 1970, for tickets.
    pub unix: u32,
    /// Time since some start, for delays; never goes back.
    pub uptime: Duration,
}

/// A packet to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Where to.
    pub to: SocketAddr,
    /// The packet.
    pub bytes: Vec<u8>,
}

/// Names a connection: peer, epoch, and cid without its channel.
type ConnectionId = (SocketAddr, u32, u32);

/// What is remembered of a connection.
#[derive(Default)]
struct Connection {
    /// Number of the packet sent last.
    serial: u32,
    /// The latest call of each channel.
    channels: [Option<Exchange>; 4],
}

/// The latest call of a channel.
struct Exchange {
    /// Its number.
    number: u32,
    /// Whose it is, for the modes.
    user: String,
    /// How far it is.
    state: State,
}

/// How far a call is.
enum State {
    /// Left unanswered on request, as if it had never come.
    Unheard,
    /// In work.
    Pending,
    /// Answered by this packet.
    Done(Vec<u8>),
}

/// An answer that waits for its time.
struct Delayed {
    /// When it is sent.
    due: Duration,
    /// The call it answers.
    connection: ConnectionId,
    /// The call's channel.
    channel: usize,
    /// The call's number.
    number: u32,
    /// The packet.
    datagram: Datagram,
}

/// A kaserver without sockets.
pub struct Server {
    /// The principals.
    database: Database,
    /// Where session keys come from.
    keys: Box<Keys>,
    /// What goes wrong.
    mischief: Mischief,
    /// What happened.
    stats: Stats,
    /// How far our clock is off, in seconds.
    skew_s: i64,
    /// The newest calls that are offered.
    newest: Version,
    /// What is remembered of connections.
    connections: HashMap<ConnectionId, Connection>,
    /// The same connections, oldest first.
    ages: VecDeque<ConnectionId>,
    /// Answers that wait.
    delayed: Vec<Delayed>,
    /// What happened lately, for people.
    log: VecDeque<String>,
    /// For tests that look where session keys and tickets have got to.
    granted: Granted,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("database", &self.database)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server for the principals of `config`, with keys from the kernel.
    ///
    /// # Errors
    /// As [`Database::new`].
    pub fn new(config: &Config, now_unix: u32) -> Result<Self, Error> {
        Self::with_keys(config, now_unix, Box::new(|| Key::random().ok()))
    }

    /// The same, with session keys from `keys`, so that a test knows them.
    ///
    /// # Errors
    /// As [`Database::new`].
    pub fn with_keys(config: &Config, now_unix: u32, keys: Box<Keys>) -> Result<Self, Error> {
        Ok(Self {
            database: Database::new(config, now_unix)?,
            keys,
            mischief: Mischief::default(),
            stats: Stats::default(),
            skew_s: 0,
            newest: Version::V2,
            connections: HashMap::new(),
            ages: VecDeque::new(),
            delayed: Vec::new(),
            log: VecDeque::new(),
            granted: Granted::default(),
        })
    }

    /// Takes one packet; gives those to be sent at once.
    pub fn receive(&mut self, from: SocketAddr, packet: &[u8], now: Now) -> Vec<Datagram> {
        let Some((header, body)) = Header::decode(packet) else {
            return self.ignore();
        };
        if header.flags & CLIENT_INITIATED == 0 || header.call == 0 {
            return self.ignore();
        }
        let reply = match header.kind {
            DATA if header.is_whole_request() => self.request(from, &header, body, now),
            ACK if header.wants_ack() => self.ping(from, &header),
            // Acknowledgements of our answers end nothing that we would have to end.
            ACK => Vec::new(),
            _ => self.ignore(),
        };
        reply.into_iter().map(|bytes| Datagram { to: from, bytes }).collect()
    }

    /// The answers whose time has come.
    pub fn due(&mut self, uptime: Duration) -> Vec<Datagram> {
        let (due, wait): (Vec<_>, Vec<_>) = self.delayed.drain(..).partition(|delayed| delayed.due <= uptime);
        self.delayed = wait;
        for delayed in &due {
            self.settle(delayed.connection, delayed.channel, delayed.number, &delayed.datagram.bytes);
        }
        due.into_iter().map(|delayed| delayed.datagram).collect()
    }

    /// When [`Server::due`] has something to give.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.delayed.iter().map(|delayed| delayed.due).min()
    }

    /// What happened since the last time this was asked, a line each, without secrets.
    pub fn take_log(&mut self) -> Vec<String> {
        self.log.drain(..).collect()
    }

    /// What happened, in numbers.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Carries out one line of the control socket.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn command(&mut self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ok = || Ok("ok".to_owned());
        let known = |yes: bool, user: &str| if yes { ok() } else { Err(format!("no principal {user:?}")) };
        match words.as_slice() {
            ["mode", mode @ .., "for", user] => {
                let mode = self.mode(mode)?;
                self.mischief.set(mode, Some(user));
                ok()
            }
            ["mode", mode @ ..] => {
                let mode = self.mode(mode)?;
                self.mischief.set(mode, None);
                ok()
            }
            ["unlock", user] => known(self.database.unlock(user), user),
            ["user", user, password] => match self.database.add_user(user, password) {
                Ok(()) => ok(),
                Err(error) => Err(error.to_string()),
            },
            ["password", user, password] => known(self.database.set_password(user, password), user),
            ["skew", seconds] => {
                self.skew_s =
                    seconds.parse().map_err(|_| format!("{seconds:?} is not a number of seconds"))?;
                ok()
            }
            ["interface", name] => {
                self.newest = match *name {
                    "v2" => Version::V2,
                    "v1" => Version::V1,
                    "old" => Version::Old,
                    _ => return Err("an interface is v2, v1 or old".to_owned()),
                };
                ok()
            }
            ["stats"] => serde_json::to_string(&self.stats).map_err(|error| error.to_string()),
            ["stats", "reset"] => {
                self.stats = Stats::default();
                ok()
            }
            ["granted"] => Ok(self.granted.line()),
            _ => {
                Err("a command is mode, user, unlock, password, skew, interface, stats or granted".to_owned())
            }
        }
    }

    /// Reads a mode and checks that the user in it exists.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    fn mode(&mut self, words: &[&str]) -> Result<Mode, String> {
        let mode = Mode::parse(words)?;
        match &mode {
            Mode::ForgeUser(user) if !self.database.knows(user) => Err(format!("no principal {user:?}")),
            _ => Ok(mode),
        }
    }

    /// A packet that makes no sense.
    fn ignore<T>(&mut self) -> Vec<T> {
        self.stats.ignored += 1;
        Vec::new()
    }

    /// A packet left unanswered on request.
    fn silence<T>(&mut self) -> Vec<T> {
        self.stats.silenced += 1;
        Vec::new()
    }

    /// A request of one packet.
    fn request(&mut self, from: SocketAddr, header: &Header, body: &[u8], now: Now) -> Vec<Vec<u8>> {
        let (id, channel) = place(from, header);
        let latest =
            self.connections.get(&id).and_then(|connection| connection.channels.get(channel)?.as_ref());
        let mut again = false;
        match latest {
            Some(exchange) if exchange.number > header.call => return self.ignore(),
            Some(exchange) if exchange.number == header.call => {
                self.stats.duplicates += 1;
                let user = exchange.user.clone();
                match &exchange.state {
                    // What never came comes for the first time now, but is not a second call.
                    State::Unheard => again = true,
                    _ if self.mischief.is_silent(&user) => return self.silence(),
                    State::Pending => return vec![self.acknowledge(id, header, Reason::Duplicate)],
                    State::Done(reply) => return vec![reply.clone()],
                }
            }
            _ => {}
        }
        if header.security != 0 {
            return vec![header.answer(ABORT, 1).encode(&abort_body(INVALID_OPERATION))];
        }
        match Call::decode(header.service, body) {
            Ok(call) if call.version() <= self.newest => self.call(id, header, &call, again, now),
            Ok(_) | Err(NoCall::UnknownOperation) => {
                self.stats.unknown += 1;
                let reply = self.packet(id, header, Err(UNKNOWN_OPERATION));
                self.remember(
                    id,
                    channel,
                    Exchange { number: header.call, user: String::new(), state: State::Done(reply.clone()) },
                );
                vec![reply]
            }
            Err(NoCall::UnknownService) => {
                self.stats.unknown += 1;
                vec![header.answer(ABORT, 1).encode(&abort_body(INVALID_OPERATION))]
            }
            Err(NoCall::Malformed) => self.ignore(),
        }
    }

    /// A call that decodes; `again` if it has been counted before.
    fn call(
        &mut self,
        id: ConnectionId,
        header: &Header,
        call: &Call,
        again: bool,
        now: Now,
    ) -> Vec<Vec<u8>> {
        let user = match call {
            Call::Authenticate(call) => shown(&call.name, &call.instance),
            Call::GetTicket(call) => {
                self.database.caller(call).map(|(n, i)| shown(&n, &i)).unwrap_or_default()
            }
        };
        if !again {
            match call {
                Call::Authenticate(_) => self.stats.count_authenticate(&user),
                Call::GetTicket(_) => self.stats.count_get_ticket(&user),
            }
        }
        let (_, channel) = place(id.0, header);
        let mode = self.mischief.request(&user);
        let exchange = |state| Exchange { number: header.call, user: user.clone(), state };
        match mode {
            Mode::Silent | Mode::Drop(_) => {
                self.remember(id, channel, exchange(State::Unheard));
                return self.silence();
            }
            Mode::Hang => {
                self.remember(id, channel, exchange(State::Pending));
                self.stats.silenced += 1;
                return if header.wants_ack() {
                    vec![self.acknowledge(id, header, Reason::PingResponse)]
                } else {
                    Vec::new()
                };
            }
            _ => {}
        }
        let result = self.serve(id.0, call, &mode, now);
        self.stats.count_result(&user, result.as_ref().map(|_| ()).map_err(|code| *code));
        self.note(call, &user, &result, &mode);
        let reply = self.packet(id, header, result);
        if let Mode::Delay(delay) = mode
            && self.delayed.len() < DELAYED_MAX
        {
            self.remember(id, channel, exchange(State::Pending));
            self.delayed.push(Delayed {
                due: now.uptime + delay,
                connection: id,
                channel,
                number: header.call,
                datagram: Datagram { to: id.0, bytes: reply },
            });
            return Vec::new();
        }
        self.remember(id, channel, exchange(State::Done(reply.clone())));
        vec![reply]
    }

    /// The body of the answer to a call.
    ///
    /// # Errors
    /// The code that the client is told.
    fn serve(&mut self, from: SocketAddr, call: &Call, mode: &Mode, now: Now) -> Result<Vec<u8>, Code> {
        let unix = i64::from(now.unix).saturating_add(self.skew_s);
        let unix = u32::try_from(unix.max(0)).unwrap_or(u32::MAX);
        let mut host = match from.ip() {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(_) => [0; 4],
        };
        // The original turns an address round that is in network order already; on a PC it comes out backwards.
        host.reverse();
        let (mut grant, answer_max) = match call {
            Call::Authenticate(call) => {
                (self.database.authenticate(call, host, unix, &mut self.keys)?, call.answer_max)
            }
            Call::GetTicket(call) => {
                (self.database.get_ticket(call, host, unix, &mut self.keys)?, call.answer_max)
            }
        };
        self.forge(&mut grant, call, mode, unix)?;
        self.granted.keep(grant.answer.session_key.bytes(), &grant.answer.ticket);
        let mut sealed = grant.seal(answer_max)?;
        if *mode == Mode::ForgeGarbage {
            for block in sealed.chunks_mut(8) {
                let noise = (self.keys)().ok_or(code::KANOKEYS)?;
                block.copy_from_slice(noise.bytes().get(..block.len()).unwrap_or_default());
            }
        }
        Ok(reply_body(answer_max, &sealed))
    }

    /// Spoils an answer before it is sealed.
    ///
    /// # Errors
    /// The code that the client is told.
    fn forge(&mut self, grant: &mut Grant, call: &Call, mode: &Mode, now: u32) -> Result<(), Code> {
        let for_server = matches!(call, Call::GetTicket(_));
        match mode {
            Mode::ForgeChallenge => grant.answer.challenge = grant.answer.challenge.wrapping_add(1),
            Mode::ForgeKey if for_server => {
                let foreign = (self.keys)().ok_or(code::KANOKEYS)?;
                grant.replace_ticket(grant.ticket.clone(), foreign)?;
            }
            Mode::ForgeUser(user) if for_server => {
                let (name, instance) = user.split_once('.').unwrap_or((user, ""));
                let mut ticket = grant.ticket.clone();
                ticket.name = name.into();
                ticket.instance = instance.into();
                grant.replace_ticket(ticket, grant.server_key.clone())?;
            }
            Mode::EndsIn(seconds) if for_server => {
                let mut ticket = grant.ticket.clone();
                ticket.start = now.saturating_add(*seconds).saturating_sub(UNIT_S);
                ticket.life = 1;
                (grant.answer.start, grant.answer.end) = (ticket.start, ticket.end());
                grant.replace_ticket(ticket, grant.server_key.clone())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes down what happened, for people.
    fn note(&mut self, call: &Call, user: &str, result: &Result<Vec<u8>, Code>, mode: &Mode) {
        let what = if matches!(call, Call::Authenticate(_)) { "Authenticate" } else { "GetTicket" };
        let outcome = match result {
            Ok(_) => "granted".to_owned(),
            Err(code) => format!("refused with {code}"),
        };
        if self.log.len() < LOG_MAX {
            let user = user.escape_debug();
            self.log.push_back(match mode {
                Mode::Normal => format!("{what} {user}: {outcome}"),
                mode => format!("{what} {user}: {outcome} ({mode:?})"),
            });
        }
    }

    /// A question whether we are still there.
    fn ping(&mut self, from: SocketAddr, header: &Header) -> Vec<Vec<u8>> {
        let (id, channel) = place(from, header);
        let latest =
            self.connections.get(&id).and_then(|connection| connection.channels.get(channel)?.as_ref());
        let Some(exchange) = latest.filter(|exchange| exchange.number == header.call) else {
            return self.ignore();
        };
        let user = exchange.user.clone();
        let reply = match &exchange.state {
            State::Unheard => return self.silence(),
            State::Pending => None,
            // Who still asks has not got it.
            State::Done(reply) => Some(reply.clone()),
        };
        if self.mischief.is_silent(&user) {
            return self.silence();
        }
        self.stats.pings += 1;
        [Some(self.acknowledge(id, header, Reason::PingResponse)), reply].into_iter().flatten().collect()
    }

    /// The next serial number of a connection.
    fn serial(&mut self, id: ConnectionId) -> u32 {
        let connection = self.connection(id);
        connection.serial = connection.serial.wrapping_add(1);
        connection.serial
    }

    /// The packet that acknowledges another one of a call that has come whole.
    fn acknowledge(&mut self, id: ConnectionId, header: &Header, reason: Reason) -> Vec<u8> {
        let serial = self.serial(id);
        header.answer(ACK, serial).encode(&ack_body(2, header.serial, reason))
    }

    /// The packet that ends a call.
    fn packet(&mut self, id: ConnectionId, header: &Header, result: Result<Vec<u8>, Code>) -> Vec<u8> {
        let serial = self.serial(id);
        match result {
            Ok(body) => header.answer(DATA, serial).encode(&body),
            Err(code) => header.answer(ABORT, serial).encode(&abort_body(code)),
        }
    }

    /// A connection, made if it is new; the oldest goes if there are too many.
    fn connection(&mut self, id: ConnectionId) -> &mut Connection {
        if !self.connections.contains_key(&id) {
            if self.ages.len() >= CONNECTIONS_MAX
                && let Some(oldest) = self.ages.pop_front()
            {
                self.connections.remove(&oldest);
            }
            self.ages.push_back(id);
        }
        self.connections.entry(id).or_default()
    }

    /// Makes `exchange` the latest call of its channel.
    fn remember(&mut self, id: ConnectionId, channel: usize, exchange: Exchange) {
        if let Some(slot) = self.connection(id).channels.get_mut(channel) {
            *slot = Some(exchange);
        }
    }

    /// Remembers the answer of a call that was pending.
    fn settle(&mut self, id: ConnectionId, channel: usize, number: u32, reply: &[u8]) {
        let slot = self
            .connections
            .get_mut(&id)
            .and_then(|connection| connection.channels.get_mut(channel)?.as_mut());
        if let Some(exchange) = slot.filter(|exchange| exchange.number == number) {
            exchange.state = State::Done(reply.to_vec());
        }
    }
}

/// Where a packet belongs: connection and channel.
fn place(from: SocketAddr, header: &Header) -> (ConnectionId, usize) {
    ((from, header.epoch, header.cid & !3), usize::try_from(header.cid & 3).unwrap_or_default())
}

/// A principal's name as people write it.
fn shown(name: &[u8], instance: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if instance.is_empty() {
        name.into_owned()
    } else {
        format!("{name}.{}", String::from_utf8_lossy(instance))
    }
}

#[cfg(test)]
mod tests;
