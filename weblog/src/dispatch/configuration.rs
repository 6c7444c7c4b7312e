//! What a new configuration changes.

use super::{Dispatch, Target};
use crate::clock::Now;
use crate::config::Settings;
use crate::message;
use afsweb_cache::Store;
use core::num::NonZeroUsize;
use pag::Home;

impl<A> Dispatch<A> {
    /// Applies a configuration; one that is older than the current one is ignored. Cache and logins stay, except for cells that are no longer allowed;
    /// cells that were silent are asked again.
    pub fn configure(&mut self, new: Settings, now: Now) {
        if self.settings.as_ref().is_some_and(|old| old.version > new.version) {
            self.note(message::CONFIG_TOO_OLD, "an older configuration was ignored");
            return;
        }
        let gone: Vec<Target> = self.settings.iter().flat_map(|old| gone(old, &new)).collect();
        self.limiter.set_limits(new.limits);
        self.logins.set_bounds(new.bounds);
        self.logins.reset_breakers(now.ms);
        self.groups.configure(new.bounds, now.ms);
        if self.cache.capacity() != new.cache_entries {
            self.resize_cache(new.cache_entries, now);
        }
        self.settings = Some(new);
        for target in gone {
            self.forget(&target, now);
        }
        if let Some(settings) = &self.settings {
            let keep = |home: &Home| match home {
                Home::Cell(cell) => settings.cells.contains_key(cell),
                Home::Realm(realm) => settings.realms.contains(realm),
            };
            self.logins.retain_homes(keep);
            self.groups.retain_homes(keep);
        }
        let services = self.settings.as_ref().map(|s| s.services.clone()).unwrap_or_default();
        let acts = self.services.set(&services, now);
        self.act(acts, now);
        self.serve_services(now);
        self.run_next();
    }

    /// Moves the cache into one of another size, the most recently used entries last.
    fn resize_cache(&mut self, capacity: NonZeroUsize, now: Now) {
        let mut keys = Vec::new();
        let entries = self.cache.take_matching(|key, _| {
            keys.push(key.clone());
            true
        });
        self.cache = Store::new(capacity);
        for (key, entry) in keys.into_iter().zip(entries).rev() {
            let expires = entry.expires_ms;
            drop(self.cache.insert(key, entry, expires, now.ms));
        }
    }
}

/// Who is not allowed any more.
fn gone(old: &Settings, new: &Settings) -> Vec<Target> {
    let cells = old.cells.keys().filter(|cell| !new.cells.contains_key(cell)).cloned().map(Target::Cell);
    let realms = old.realms.difference(&new.realms).cloned().map(Target::Realm);
    cells.chain(realms).collect()
}
