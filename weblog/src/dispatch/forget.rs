//! What is forgotten of whom an administrator names.

use super::{Dispatch, Effect, Target};
use crate::clock::Now;
use weblog_proto::Reply;

impl<A> Dispatch<A> {
    /// Forgets somebody: tokens, refusals, failed logins, and logins under way. Children are told in any case.
    pub fn forget(&mut self, target: &Target, now: Now) -> usize {
        let target = &target.known_to(self.settings.as_ref());
        let tokens = self.cache.take_matching(|key, _| target.covers(&key.who)).len();
        drop(self.refused.take_matching(|key, _| target.covers(&key.who)));
        for id in self.logins.matching(|login| target.covers(&login.key.who)) {
            let Some(login) = self.logins.end(id) else { continue };
            if login.is_running() {
                self.out.push_back(Effect::Kill { login: id });
            }
            self.logins.breaker(&login.key.who.home()).inconclusive(id, now.ms);
            self.limiter.failed(login.attempt);
            let retry_ms = self.retry_ms();
            for waiter in login.waiters {
                self.reply(waiter.lane, waiter.asker, Reply::Pending { retry_ms });
            }
        }
        self.forget_groups(target, now);
        let of_services = self.services.forget(|who| target.covers(who), now);
        self.serve_services(now);
        match target {
            Target::All => self.limiter.clear(),
            _ => self.limiter.forget(|who| target.covers(who)),
        }
        self.out.push_back(Effect::Revoked);
        self.run_next();
        tokens.saturating_add(of_services)
    }
}
