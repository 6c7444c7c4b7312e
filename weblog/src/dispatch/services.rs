//! The tokens of service identities.

use super::{Dispatch, Effect, UNCONFIGURED_RETRY_MS, way};
use crate::clock::Now;
use crate::logins::{Errand, Job, Secret};
use crate::services::Act;
use weblog_proto::{Reply, Service};

impl<A> Dispatch<A> {
    /// Somebody serves what a service identity is for.
    pub fn service(&mut self, lane: usize, asker: A, service: &Service, now: Now) {
        let reply = match &self.settings {
            Some(_) => self.services.answer(service, now),
            None => Reply::Pending { retry_ms: UNCONFIGURED_RETRY_MS },
        };
        self.reply(lane, asker, reply);
    }

    /// Lets service identities do what is due.
    pub(super) fn serve_services(&mut self, now: Now) {
        let Some(deadline_ms) = self.settings.as_ref().map(|s| s.login_deadline_ms) else { return };
        let acts = self.services.tick(deadline_ms.into(), now);
        self.act(acts, now);
    }

    /// Carries out what service identities want.
    pub(super) fn act(&mut self, acts: Vec<Act>, now: Now) {
        for act in acts {
            match act {
                Act::Kill(login) => self.out.push_back(Effect::Kill { login }),
                Act::Revoked => self.out.push_back(Effect::Revoked),
                Act::Log(line) => self.log(line),
                Act::Start(login, service) => {
                    let way = self.settings.as_ref().and_then(|s| way(s, service.who.cell()));
                    // The configuration was checked: its cell is an allowed one.
                    let (Some(way), Some(settings)) = (way, &self.settings) else { continue };
                    let job = Job {
                        who: service.who,
                        errand: Errand::Login {
                            secret: Secret::KeyFile(service.key_file),
                            lifetime_s: 0,
                            way,
                        },
                        deadline_ms: now.ms.saturating_add(settings.login_deadline_ms.into()),
                    };
                    self.counts.logins = self.counts.logins.saturating_add(1);
                    self.out.push_back(Effect::Start { login, job });
                }
            }
        }
    }
}
