//! What is forgotten of whom an administrator names.

use super::{Dispatch, Effect, Target};
use crate::clock::Now;
use pag::Principal;
use weblog_proto::Reply;

impl<A> Dispatch<A> {
    /// Forgets somebody: tokens, refusals, failed logins, and logins under way. Children are told in any case.
    pub fn forget(&mut self, target: &Target, now: Now) -> usize {
        let target = &target.known_to(self.settings.as_ref());
        // Those who have typed another name than the cell's (carol/admin is carol.admin there).
        let mut called = Vec::new();
        let tokens = self.cache.take_matching(|key, entry| {
            let is_called = target.covers_called(&key.who, &entry.name);
            if is_called && !target.covers(&key.who) {
                called.push(key.who.clone());
            }
            is_called
        });
        let tokens = tokens.len();
        let covers =
            |who: &Principal| target.covers(who) || called.iter().any(|c: &Principal| c.is_same_user(who));
        drop(self.refused.take_matching(|key, _| covers(&key.who)));
        for id in self.logins.matching(|login| covers(&login.key.who)) {
            let Some(login) = self.logins.end(id) else { continue };
            if login.is_running() {
                self.out.push_back(Effect::Kill { login: id });
            }
            self.logins.breaker(&login.key.who.home()).inconclusive(id, now.ms);
            if login.is_handed() {
                // How it would have ended nobody will know.
                self.limiter.failed(login.attempt, now.ms);
            } else {
                self.limiter.take_back(login.attempt, now.ms);
            }
            let retry_ms = self.retry_ms();
            for waiter in login.waiters {
                self.reply(waiter.lane, waiter.asker, Reply::Pending { retry_ms });
            }
        }
        self.forget_groups(covers, now);
        let of_services = self.services.forget(covers, now);
        self.serve_services(now);
        match target {
            Target::All => self.limiter.clear(),
            _ => self.limiter.forget(covers),
        }
        self.out.push_back(Effect::Revoked);
        self.run_next();
        tokens.saturating_add(of_services)
    }
}
