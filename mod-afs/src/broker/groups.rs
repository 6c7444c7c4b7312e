//! Whether a visitor is in a group: asked of the broker each time, which remembers it for all children.

use super::{Logins, NoVisitor, Terms, another_answer};
use crate::identity::Credentials;
use weblog_proto::{GetToken, Member, Membership, Reply, Request};

impl Logins {
    /// Whether the bearer of these credentials is in a group of his cell.
    ///
    /// # Errors
    /// [`NoVisitor`] says why it is not known.
    pub fn member(&self, claim: &Credentials, terms: &Terms, group: &str) -> Result<Membership, NoVisitor> {
        let request = Request::Member(Member { login: get_token(claim, terms), group: group.to_owned() });
        match self.exchange(&request, &claim.principal.home(), terms.deadline)? {
            Reply::Member(membership) => Ok(membership),
            _ => Err(another_answer()),
        }
    }
}

/// Credentials as the broker takes them.
pub(super) fn get_token(claim: &Credentials, terms: &Terms) -> GetToken {
    GetToken {
        user: claim.principal.name().to_owned(),
        cell: claim.principal.cell().as_str().to_owned(),
        realm: claim.principal.realm().map(|realm| realm.as_str().to_owned()),
        password: claim.password.clone(),
        address: terms.address,
        token_lifetime_s: terms.token_lifetime_s,
        cache_expiration_s: terms.cache_expiration_s,
    }
}
