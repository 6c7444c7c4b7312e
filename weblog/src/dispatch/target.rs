//! Whom an administrator wants to be forgotten.

use crate::config::{CellSettings, Settings};
use pag::{Cell, Home, Principal, Realm};

/// What an administrator writes behind the `@`: the name of a cell, of a realm in whatever case, or of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    cell: Option<Cell>,
    realm: Option<Realm>,
    /// Cells whose realm is called so.
    of_realm: Vec<Cell>,
}

impl Behind {
    /// What `name` may mean.
    ///
    /// # Errors
    /// Neither of a cell nor of a realm.
    pub fn new(name: &str) -> Result<Self, pag::cell::CellError> {
        let (cell, realm) = (Cell::new(name), Realm::new(name).ok());
        match (&cell, &realm) {
            (Err(why), None) => Err(*why),
            _ => Ok(Self { cell: cell.ok(), realm, of_realm: Vec::new() }),
        }
    }

    /// The same, as somebody means it for whom cells have these realms: users of a cell are users of its realm.
    fn known_to(&self, settings: &Settings) -> Self {
        let Some(realm) = &self.realm else { return self.clone() };
        let its = |cell: &CellSettings| cell.realm.as_ref().is_some_and(|r| r.is_called(realm.as_str()));
        let of_realm = settings.cells.iter().filter(|(_, cell)| its(cell)).map(|(name, _)| name.clone());
        Self { of_realm: of_realm.collect(), ..self.clone() }
    }

    /// Whether it means that one.
    fn is(&self, home: &Home) -> bool {
        match home {
            Home::Cell(cell) => self.cell.as_ref() == Some(cell) || self.of_realm.contains(cell),
            Home::Realm(realm) => self.realm.as_ref().is_some_and(|r| r.is_called(realm.as_str())),
        }
    }
}

impl core::fmt::Display for Behind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let realm = self.realm.as_ref().map(Realm::as_str);
        f.write_str(realm.or(self.cell.as_ref().map(Cell::as_str)).unwrap_or_default())
    }
}

/// Whom to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One user, by name and what stands behind the `@`: a cell, or a realm that he named.
    User(String, Behind),
    /// All whose cell or realm is called so.
    Every(Behind),
    /// All users of a cell, of whatever realm.
    Cell(Cell),
    /// All users of a realm that they named.
    Realm(Realm),
    /// Everybody.
    All,
}

impl Target {
    /// The same under these settings.
    pub(super) fn known_to(&self, settings: Option<&Settings>) -> Self {
        match (self, settings) {
            (Self::User(name, behind), Some(s)) => Self::User(name.clone(), behind.known_to(s)),
            (Self::Every(behind), Some(s)) => Self::Every(behind.known_to(s)),
            (other, _) => other.clone(),
        }
    }

    /// Whether it is about this user. In whatever case he has typed his name: the cell calls him the same.
    pub(super) fn covers(&self, who: &Principal) -> bool {
        match self {
            Self::User(name, behind) => name.eq_ignore_ascii_case(who.name()) && behind.is(&who.home()),
            Self::Every(behind) => behind.is(&who.home()) || behind.cell.as_ref() == Some(who.cell()),
            Self::Cell(cell) => cell == who.cell(),
            Self::Realm(realm) => who.realm() == Some(realm),
            Self::All => true,
        }
    }

    /// Whether it is about this user, whom the cell calls so.
    pub(super) fn covers_called(&self, who: &Principal, called: &str) -> bool {
        let Self::User(name, behind) = self else { return self.covers(who) };
        // Whom it calls by a name alone is the cell's own, also if he has typed its realm, which is not always known here.
        let (called, is_own) = called.split_once('@').map_or((called, true), |(name, _)| (name, false));
        let is_there = behind.is(&who.home()) || (is_own && behind.is(&Home::Cell(who.cell().clone())));
        (is_there && name.eq_ignore_ascii_case(called)) || self.covers(who)
    }
}

impl core::fmt::Display for Target {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::User(name, behind) => write!(f, "{name}@{behind}"),
            Self::Every(behind) => write!(f, "@{behind}"),
            Self::Cell(cell) => write!(f, "@{cell}"),
            Self::Realm(realm) => write!(f, "@{realm}"),
            Self::All => f.write_str("everybody"),
        }
    }
}
