//! A bounded map whose entries end; the one that was not used for longest goes first.

use core::fmt;
use core::hash::Hash;
use core::num::NonZeroUsize;
use lru::LruCache;
use std::collections::BTreeSet;

/// A value and when it ends.
struct Entry<V> {
    /// The value.
    value: V,
    /// First millisecond at which it is no longer there.
    expires_ms: u64,
    /// Tells apart entries that end in the same millisecond.
    serial: u64,
}

/// Key to value, each with an end. Holds at most as many as it was made for.
///
/// What leaves it is handed back, so that the caller can end what the value stands for.
/// An entry whose end has come is never handed out by [`Store::get`].
pub struct Store<K: Hash + Eq + Clone, V> {
    /// The entries, in order of use.
    map: LruCache<K, Entry<V>>,
    /// The ends of all entries, earliest first, with their serial.
    ends: BTreeSet<(u64, u64)>,
    /// Serial of the next entry.
    next_serial: u64,
}

impl<K: Hash + Eq + Clone, V> Store<K, V> {
    /// An empty one for at most `capacity` entries.
    #[must_use]
    pub fn new(capacity: NonZeroUsize) -> Self {
        // `sparse`: a large bound costs no memory before there are entries.
        Self { map: LruCache::sparse(capacity), ends: BTreeSet::new(), next_serial: 0 }
    }

    /// Puts `value` there until `expires_ms`, and returns what it displaced:
    /// the entry with that key, or the least recently used one if the store was full of others.
    ///
    /// An entry that has ended already goes before any that has not.
    /// A value that has ended at `now_ms` is not kept but handed back, unless it displaces one with its key.
    pub fn insert(&mut self, key: K, value: V, expires_ms: u64, now_ms: u64) -> Option<V> {
        let old = self.remove(&key);
        if expires_ms <= now_ms {
            // Never leave the old value in place of the new one, even if the new one is over at once.
            return old.or(Some(value));
        }
        let evicted = match old {
            None if self.map.len() >= self.map.cap().get() => self.evict(now_ms),
            other => other,
        };
        let serial = self.next_serial;
        self.next_serial = self.next_serial.wrapping_add(1);
        self.ends.insert((expires_ms, serial));
        self.map.push(key, Entry { value, expires_ms, serial });
        evicted
    }

    /// The value, if its end has not come. One that has ended is dropped.
    pub fn get(&mut self, key: &K, now_ms: u64) -> Option<&V> {
        if self.map.peek(key)?.expires_ms <= now_ms {
            self.remove(key);
            return None;
        }
        self.map.get(key).map(|e| &e.value)
    }

    /// When the entry ends, or ended; does not count as use.
    #[must_use]
    pub fn peek_expiry(&self, key: &K) -> Option<u64> {
        self.map.peek(key).map(|e| e.expires_ms)
    }

    /// Takes the entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.map.pop(key)?;
        self.ends.remove(&(entry.expires_ms, entry.serial));
        Some(entry.value)
    }

    /// The value of the entry that was not used for longest, of those for which `matches` says yes; does not count as use.
    #[must_use]
    pub fn oldest(&self, mut matches: impl FnMut(&K, &V) -> bool) -> Option<&V> {
        self.map.iter().rev().find(|(k, e)| matches(k, &e.value)).map(|(_, e)| &e.value)
    }

    /// Of how many entries `matches` says yes.
    #[must_use]
    pub fn count(&self, mut matches: impl FnMut(&K, &V) -> bool) -> usize {
        self.map.iter().filter(|(k, e)| matches(k, &e.value)).count()
    }

    /// Takes out all entries for which `matches` says yes.
    pub fn take_matching(&mut self, mut matches: impl FnMut(&K, &V) -> bool) -> Vec<V> {
        let keys: Vec<K> =
            self.map.iter().filter(|(k, e)| matches(k, &e.value)).map(|(k, _)| k.clone()).collect();
        keys.iter().filter_map(|k| self.remove(k)).collect()
    }

    /// Takes out all entries whose end has come.
    pub fn sweep(&mut self, now_ms: u64) -> Vec<V> {
        if self.next_expiry_ms().is_none_or(|end| end > now_ms) {
            return Vec::new();
        }
        let keys: Vec<K> =
            self.map.iter().filter(|(_, e)| e.expires_ms <= now_ms).map(|(k, _)| k.clone()).collect();
        keys.iter().filter_map(|k| self.remove(k)).collect()
    }

    /// Takes out all entries.
    pub fn clear(&mut self) -> Vec<V> {
        self.ends.clear();
        let mut all = Vec::with_capacity(self.map.len());
        while let Some((_, entry)) = self.map.pop_lru() {
            all.push(entry.value);
        }
        all
    }

    /// Number of entries, those that have ended and were not swept included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Nothing there?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Most entries that it holds.
    #[must_use]
    pub fn capacity(&self) -> NonZeroUsize {
        self.map.cap()
    }

    /// The earliest end of all entries: when the next [`Store::sweep`] is worth its while.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Makes room for one.
    fn evict(&mut self, now_ms: u64) -> Option<V> {
        let ended = match self.ends.first() {
            Some(&(end, serial)) if end <= now_ms => {
                self.map.iter().find(|(_, e)| e.serial == serial).map(|(k, _)| k.clone())
            }
            _ => None,
        };
        match ended {
            Some(key) => self.remove(&key),
            None => {
                let (_, entry) = self.map.pop_lru()?;
                self.ends.remove(&(entry.expires_ms, entry.serial));
                Some(entry.value)
            }
        }
    }
}

impl<K: Hash + Eq + Clone, V> fmt::Debug for Store<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::rc::Rc;

    fn store(capacity: usize) -> Store<u32, &'static str> {
        Store::new(NonZeroUsize::new(capacity).unwrap())
    }

    #[test]
    fn an_entry_ends_at_its_end_and_not_before() {
        let mut s = store(4);
        assert_eq!(s.insert(1, "a", 100, 0), None);
        assert_eq!(s.get(&1, 99), Some(&"a"));
        assert_eq!(s.get(&1, 100), None);
        assert_eq!(s.len(), 0, "what has ended is removed when it is asked for");
        assert_eq!(s.next_expiry_ms(), None);
    }

    #[test]
    fn the_least_recently_used_goes_first_and_is_handed_back() {
        let mut s = store(2);
        s.insert(1, "a", 100, 0);
        s.insert(2, "b", 100, 0);
        assert_eq!(s.get(&1, 1), Some(&"a"));
        assert_eq!(s.insert(3, "c", 100, 1), Some("b"));
        assert_eq!(s.len(), 2);
        assert_eq!(s.get(&2, 1), None);
    }

    #[test]
    fn the_oldest_that_matches_is_found_and_stays_where_it_was() {
        let mut s = store(3);
        for (key, value) in [(1, "a"), (2, "b"), (3, "b")] {
            s.insert(key, value, 100, 0);
        }
        s.get(&2, 1);
        let mut seen = Vec::new();
        assert_eq!(s.oldest(|k, v| (seen.push(*k), *v == "b").1), Some(&"b"));
        assert_eq!(seen, [1, 3]);
        assert_eq!((s.count(|_, v| *v == "b"), s.count(|k, _| *k == 9)), (2, 0));
        assert_eq!(s.oldest(|_, v| *v == "c"), None);
        assert_eq!(s.insert(4, "d", 100, 1), Some("a"));
    }

    #[test]
    fn an_ended_entry_goes_before_the_least_recently_used() {
        let mut s = store(2);
        s.insert(1, "old but good", 100, 0);
        s.insert(2, "over", 10, 0);
        assert_eq!(s.insert(3, "c", 100, 10), Some("over"));
        assert_eq!(s.get(&1, 10), Some(&"old but good"));
    }

    #[test]
    fn replacing_hands_back_the_old_value_and_its_end_is_forgotten() {
        let mut s = store(2);
        s.insert(1, "a", 10, 0);
        assert_eq!(s.insert(1, "b", 50, 0), Some("a"));
        assert_eq!(s.peek_expiry(&1), Some(50));
        assert_eq!(s.next_expiry_ms(), Some(50));
        assert_eq!(s.len(), 1);
    }

    #[test]
    fn a_value_that_is_already_over_is_not_kept_and_leaves_no_older_one_behind() {
        let mut s = store(2);
        assert_eq!(s.insert(1, "over", 5, 5), Some("over"));
        assert!(s.is_empty());
        s.insert(1, "a", 10, 0);
        assert_eq!(s.insert(1, "over", 5, 5), Some("a"));
        assert!(s.is_empty());
    }

    #[test]
    fn sweep_takes_what_has_ended_only() {
        let mut s = store(9);
        s.insert(1, "a", 10, 0);
        s.insert(2, "b", 10, 0);
        s.insert(3, "c", 20, 0);
        assert_eq!(s.sweep(9), Vec::<&str>::new());
        assert_eq!(s.next_expiry_ms(), Some(10));
        let mut out = s.sweep(10);
        out.sort_unstable();
        assert_eq!(out, ["a", "b"]);
        assert_eq!(s.next_expiry_ms(), Some(20));
    }

    #[test]
    fn take_matching_and_clear_hand_everything_back() {
        let mut s = store(9);
        for (k, v) in [(1, "a"), (2, "b"), (3, "c")] {
            s.insert(k, v, 10, 0);
        }
        assert_eq!(s.take_matching(|k, v| *k == 2 && *v == "b"), ["b"]);
        assert_eq!(s.clear().len(), 2);
        assert_eq!((s.len(), s.next_expiry_ms()), (0, None));
    }

    /// No reference to a value is left anywhere once it was handed back (tokens of people long gone).
    #[test]
    fn nothing_that_left_is_still_held() {
        let value = Rc::new(());
        let mut s = Store::new(NonZeroUsize::new(3).unwrap());
        for k in 0..10u32 {
            s.insert(k, Rc::clone(&value), 10 + u64::from(k), 0);
        }
        assert_eq!(Rc::strong_count(&value), 4);
        s.sweep(18);
        s.get(&9, 1_000);
        assert_eq!((Rc::strong_count(&value), s.len()), (1, 0));
    }

    proptest! {
        /// Against a plain list that does the same in the obvious way.
        #[test]
        fn behaves_like_the_obvious_list(steps in prop::collection::vec((0u8..4, 0u32..6, 0u64..30), 0..80)) {
            let mut s: Store<u32, u64> = Store::new(NonZeroUsize::new(3).unwrap());
            let mut list: Vec<(u32, u64, u64)> = Vec::new(); // key, value, end; least recently used first
            let mut now = 0;
            for (n, (what, key, amount)) in steps.into_iter().enumerate() {
                let n = n as u64;
                match what {
                    0 => {
                        let end = now + amount;
                        let old = list.iter().position(|e| e.0 == key).map(|i| list.remove(i).1);
                        let want = if end <= now {
                            old.or(Some(n))
                        } else {
                            let out = if old.is_none() && list.len() == 3 {
                                let first = list.iter().map(|e| e.2).min().unwrap();
                                let ended = (first <= now).then(|| list.iter().position(|e| e.2 == first).unwrap());
                                Some((ended, first))
                            } else { None };
                            let got = s.insert(key, n, end, now);
                            match out {
                                // Several may have ended in the same millisecond: any of them may go.
                                Some((Some(_), first)) => {
                                    let i = list.iter().position(|e| Some(e.1) == got).unwrap();
                                    prop_assert_eq!(list.remove(i).2, first);
                                }
                                Some((None, _)) => prop_assert_eq!(got, Some(list.remove(0).1)),
                                None => prop_assert_eq!(got, old),
                            }
                            list.push((key, n, end));
                            continue;
                        };
                        prop_assert_eq!(s.insert(key, n, end, now), want);
                    }
                    1 => {
                        let at = list.iter().position(|e| e.0 == key);
                        let want = at.map(|i| list.remove(i)).filter(|e| e.2 > now);
                        list.extend(want);
                        prop_assert_eq!(s.get(&key, now).copied(), want.map(|e| e.1));
                    }
                    2 => {
                        let at = list.iter().position(|e| e.0 == key);
                        prop_assert_eq!(s.remove(&key), at.map(|i| list.remove(i).1));
                    }
                    _ => {
                        now += amount;
                        let mut want: Vec<u64> = list.extract_if(.., |e| e.2 <= now).map(|e| e.1).collect();
                        let mut got = s.sweep(now);
                        want.sort_unstable();
                        got.sort_unstable();
                        prop_assert_eq!(got, want);
                    }
                }
                prop_assert_eq!(s.len(), list.len());
                prop_assert_eq!(s.next_expiry_ms(), list.iter().map(|e| e.2).min());
            }
        }
    }
}
