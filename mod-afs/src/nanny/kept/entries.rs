//! What is kept, to entries of a record and back.

use super::super::held::Held;
use super::super::old::Old;
use super::super::record::{Record, numbers};
use super::{Found, Kept, LaneFds};
use weblog_proto::versions::of_module;

/// The names of entries that are known here.
const NAMES: [&str; 21] = [
    "versions",
    "nanny",
    "control",
    "probe",
    "open",
    "old",
    "lane",
    "locks",
    "stores",
    "waiting",
    "board",
    "board-read-only",
    "listener",
    "socket",
    "program",
    "held",
    "object",
    "user",
    "version",
    "unsent",
    "deaths",
];

impl Kept {
    /// From a record.
    pub(super) fn from_record(record: Record) -> Found {
        if record.text("versions").is_none_or(|versions| versions != of_module()) {
            return Found::OfOthers(record);
        }
        match Self::read(&record) {
            Some(kept) => Found::Ours(Box::new(kept)),
            None => Found::OfOthers(record),
        }
    }

    /// From a record of this version; `None` if something that is needed is missing.
    fn read(record: &Record) -> Option<Self> {
        let lane = |value| match *numbers::<i32>(value).as_slice() {
            [worker_request, worker_reply, broker_request, broker_reply] => {
                Some(LaneFds { worker_request, worker_reply, broker_request, broker_reply })
            }
            _ => None,
        };
        let mut kept = Self {
            lanes: record.all("lane").map(lane).collect::<Option<_>>()?,
            locks: record.pair("locks")?,
            stores: match *record.numbers("stores").as_slice() {
                [address, length, place] => ((address, length), place),
                _ => return None,
            },
            waiting: record.pair("waiting")?,
            board: record.number("board")?,
            board_read_only: record.number("board-read-only")?,
            listener: record.number("listener")?,
            socket: record.text("socket")?,
            control: record.number("control")?,
            nanny: record.number("nanny")?,
            program: record.text("program")?,
            held: record.pair("held").map(|(nanny, broker)| Held { nanny, broker }),
            object: record.number("object").unwrap_or(-1),
            user: record.text("user")?,
            version: record.number("version")?,
            unsent: record.number::<u8>("unsent")? != 0,
            deaths: record.numbers("deaths"),
            old: Old::all_of(record),
            more_open: Vec::new(),
            more: record.others(&NAMES),
        };
        if kept.lanes.is_empty() {
            return None;
        }
        let known = kept.open();
        kept.more_open = record.numbers("open");
        kept.more_open.retain(|fd| !known.contains(fd));
        Some(kept)
    }

    /// As a record.
    pub(super) fn to_record(&self) -> Record {
        let mut record = Record::default();
        record.put("versions", of_module());
        record.put("nanny", self.nanny);
        record.put("control", self.control);
        record.put("probe", self.lanes.first().map_or(-1, |lane| lane.broker_request));
        record.put_all("open", self.open());
        for old in &self.old {
            old.put_into(&mut record);
        }
        for lane in &self.lanes {
            record.put_all("lane", lane.all());
        }
        record.put_all("locks", [self.locks.0, self.locks.1]);
        record.put_all("stores", [self.stores.0.0, self.stores.0.1, self.stores.1]);
        record.put_all("waiting", [self.waiting.0, self.waiting.1]);
        record.put("board", self.board);
        record.put("board-read-only", self.board_read_only);
        record.put("listener", self.listener);
        record.put("socket", &self.socket);
        record.put("program", &self.program);
        if let Some(held) = self.held {
            record.put_all("held", held.all());
        }
        record.put("object", self.object);
        record.put("user", &self.user);
        record.put("version", self.version);
        record.put("unsent", u8::from(self.unsent));
        record.put_all("deaths", &self.deaths);
        record.append(&self.more);
        record
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::kept;
    use super::*;

    #[test]
    fn the_record_survives_as_bytes() {
        let Found::Ours(back) = Kept::from_record(Record::from_bytes(&kept().to_record().to_bytes())) else {
            panic!("of another version")
        };
        assert_eq!(*back, kept());
        let mut names: Vec<String> = kept().to_record().others(&[]).names();
        names.push("old".to_owned());
        names.sort();
        names.dedup();
        let mut known = NAMES.map(str::to_owned).to_vec();
        known.sort();
        assert_eq!(names, known);
    }

    #[test]
    fn what_a_later_module_of_the_same_version_keeps_is_handed_on_and_closed_with_the_rest() {
        let mut later = kept().to_record().others(&["open"]);
        later.put("turn", "7 8");
        later.put_all("open", kept().open().into_iter().chain([99]));
        let Found::Ours(back) = Kept::from_record(later) else { panic!("of another version") };
        assert_eq!(back.open().last(), Some(&99));
        assert_eq!(back.to_record().text("turn").as_deref(), Some("7 8"));
    }

    #[test]
    fn a_record_of_another_version_or_one_that_lacks_something_is_not_taken_for_ours() {
        let ours = kept().to_record();
        let mut other = ours.others(&["versions"]);
        other.put("versions", of_module().replace("frames=", "frames=1"));
        assert!(matches!(Kept::from_record(other), Found::OfOthers(_)));
        let spared = ["probe", "open", "old", "held", "object", "deaths"];
        for name in NAMES {
            assert!(spared.contains(&name) || ours.others(&[]).names().iter().any(|n| n == name), "{name}");
            let found = Kept::from_record(ours.others(&[name]));
            assert_eq!(matches!(found, Found::Ours(_)), spared.contains(&name), "{name}");
        }
    }
}
