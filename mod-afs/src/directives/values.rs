//! From the words of a directive to a value, or to a message for the administrator: one function for each kind.

use crate::config::{AuthMethod, AuthType, ClientChoice, LoginLimit, Ports, ServiceIdentity, UserName};
use pag::{Cell, Principal, Realm};
use std::sync::Arc;
use weblog_proto::{Method, Service};

/// AFSSandbox On: pages may do what pages do, but in an origin of their own.
pub const SANDBOX: &str = "sandbox allow-downloads allow-forms allow-modals allow-popups \
     allow-popups-to-escape-sandbox allow-scripts allow-top-navigation-by-user-activation";

/// Thirty days: no token lives longer.
pub(super) const TOKEN_MAX_S: u32 = 2_592_000;

/// The one word.
pub(super) fn one(words: &[String]) -> &str {
    words.first().map_or("", String::as_str)
}

/// A whole number within bounds.
///
/// # Errors
/// What would be right.
pub(super) fn number<T>(word: &str, least: T, most: T, what: &str) -> Result<T, String>
where
    T: TryFrom<u64> + PartialOrd + core::fmt::Display + Copy,
{
    let wrong = || format!("'{word}' is not {what}: a whole number from {least} to {most} is wanted");
    if word.is_empty() || !word.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let value: u64 = word.parse().map_err(|_| wrong())?;
    T::try_from(value).ok().filter(|v| *v >= least && *v <= most).ok_or_else(wrong)
}

/// A range of ports.
///
/// # Errors
/// What would be right.
pub(super) fn ports(word: &str) -> Result<Ports, String> {
    if word.eq_ignore_ascii_case("any") {
        return Ok(Ports::Any);
    }
    let what = || format!("'{word}' is no range of ports such as 7101-7400, nor any");
    let (first, last) = word.split_once('-').ok_or_else(what)?;
    let port = |word| number(word, 1_024, u16::MAX, "a port");
    let (first, last) = (port(first)?, port(last)?);
    if first > last { Err(what()) } else { Ok(Ports::These { first, last }) }
}

/// The name of a cell.
///
/// # Errors
/// What would be right.
pub(super) fn cell(word: &str) -> Result<Cell, String> {
    Cell::new(word).map_err(|e| format!("'{}' is not a cell such as example.com: {e}", shortened(word)))
}

/// Names of cells, each once.
///
/// # Errors
/// What would be right.
pub(super) fn cells(words: &[String]) -> Result<Vec<Cell>, String> {
    let cells = words.iter().map(|n| cell(n)).collect::<Result<Vec<_>, _>>()?;
    for (i, one) in cells.iter().enumerate() {
        if cells.iter().take(i).any(|other| other == one) {
            return Err(format!("names the cell {one} twice"));
        }
    }
    Ok(cells)
}

/// The name of a realm.
///
/// # Errors
/// What would be right.
pub(super) fn realm(word: &str) -> Result<Realm, String> {
    Realm::new(word).map_err(|e| format!("'{}' is not a realm such as EXAMPLE.COM: {e}", shortened(word)))
}

/// AFSAuthMethod.
///
/// # Errors
/// What would be right.
pub(super) fn auth_method(words: &[String]) -> Result<AuthMethod, String> {
    let at = |i: usize| words.get(i).map_or("", String::as_str);
    let method = match at(1).to_ascii_lowercase().as_str() {
        "kaserver" => Method::Kaserver,
        "krb5" => Method::Krb5,
        "auto" => Method::Auto,
        _ => return Err(format!("'{}' is not a method: kaserver, krb5 or auto is wanted", shortened(at(1)))),
    };
    let realm = words.get(2).map(|word| realm(word)).transpose()?;
    if let Some(realm) = realm.as_ref().filter(|_| method == Method::Kaserver) {
        return Err(format!("a kaserver has no use for the realm {realm}: krb5 or auto has"));
    }
    Ok(AuthMethod { cell: cell(at(0))?, method, realm })
}

/// AFSServiceIdentity.
///
/// # Errors
/// What would be right.
pub(super) fn service_identity(words: &[String]) -> Result<ServiceIdentity, String> {
    let at = |i: usize| words.get(i).map_or("", String::as_str);
    if words.len() == 1 && at(0).eq_ignore_ascii_case("none") {
        return Ok(ServiceIdentity::None);
    }
    if words.len() < 3 {
        return Err("wants a cell, a principal and the file with its key, or none".to_owned());
    }
    let (name, of) = at(1).split_once('@').map_or((at(1), None), |(name, of)| (name, Some(of)));
    let who = Principal::new(name, cell(at(0))?)
        .map_err(|e| format!("'{}' is not a principal such as http/www.example.com: {e}", shortened(name)))?;
    let who = match of {
        Some(of) => who.of_realm(realm(of)?),
        None => who,
    };
    let key_file = absolute(at(2))?;
    if !Service::fits(&key_file) {
        return Err(format!("the file's name is longer than {} bytes", Service::KEY_FILE_MAX));
    }
    Ok(ServiceIdentity::Of(Arc::new(Service { who, key_file })))
}

/// An absolute path, without a slash at its end.
///
/// # Errors
/// What would be right.
pub(super) fn absolute(word: &str) -> Result<String, String> {
    if !word.starts_with('/') {
        return Err(format!("'{}' is not an absolute path: it has to start with '/'", shortened(word)));
    }
    if word.split('/').any(|part| part == "." || part == "..") {
        return Err(format!("'{}' has '.' or '..' in it: name the directory itself", shortened(word)));
    }
    if word.chars().any(char::is_control) {
        return Err("has control characters in it".to_owned());
    }
    let trimmed = word.trim_end_matches('/');
    if trimmed.is_empty() {
        Err("'/' cannot be meant: name a file or directory below it".to_owned())
    } else {
        Ok(trimmed.to_owned())
    }
}

/// A file, absolute or below ServerRoot, which is not known yet.
///
/// # Errors
/// What would be right.
pub(super) fn log_file(word: &str) -> Result<String, String> {
    let path = absolute(&format!("/{}", word.trim_start_matches('/')))?;
    Ok(if word.starts_with('/') { path } else { path.trim_start_matches('/').to_owned() })
}

/// On or Off.
///
/// # Errors
/// What would be right.
pub(super) fn switch(word: &str) -> Result<bool, String> {
    match word.to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("'{}' is neither On nor Off", shortened(word))),
    }
}

/// Bytes, with K, M or G behind the number.
///
/// # Errors
/// What would be right.
pub(super) fn size(word: &str) -> Result<u64, String> {
    /// Least: a child needs a few chunks.
    const LEAST: u64 = 1 << 20;
    /// Most.
    const MOST: u64 = 1 << 42;
    let wrong = || format!("'{}' is not a size such as 512M or 4G, between 1M and 4096G", shortened(word));
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match word.get(digits.len()..).unwrap_or_default().to_ascii_uppercase().as_str() {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(wrong()),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let bytes = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(wrong)?;
    if (LEAST..=MOST).contains(&bytes) { Ok(bytes) } else { Err(wrong()) }
}

/// The beginning of a word, for messages.
pub(super) fn shortened(word: &str) -> String {
    word.chars().take(80).collect()
}

/// SetAFSWeblogUser.
///
/// # Errors
/// What would be right.
pub(super) fn user(word: &str) -> Result<UserName, String> {
    let wrong = || format!("'{}' is neither the name of a user nor '#' and a number", shortened(word));
    if let Some(id) = word.strip_prefix('#') {
        return match number::<u32>(id, 1, u32::MAX - 1, "the number of a user") {
            Ok(id) => Ok(UserName::Uid(id)),
            Err(_) if id == "0" => Err("the broker must not run as root".to_owned()),
            Err(why) => Err(why),
        };
    }
    if word == "root" {
        return Err("the broker must not run as root".to_owned());
    }
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'$');
    let starts = word.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if starts && word.len() <= 32 && word.bytes().all(ok) {
        Ok(UserName::Name(word.to_owned()))
    } else {
        Err(wrong())
    }
}

/// SetAFSClient.
///
/// # Errors
/// What would be right.
pub(super) fn client(word: &str) -> Result<ClientChoice, String> {
    match word.to_ascii_lowercase().as_str() {
        "auto" => Ok(ClientChoice::Auto),
        "openafs" => Ok(ClientChoice::OpenAfs),
        "kafs" => Ok(ClientChoice::Kafs),
        "userspace" => Ok(ClientChoice::Userspace),
        _ => {
            Err(format!("'{}' is not a client: auto, openafs, kafs or userspace is wanted", shortened(word)))
        }
    }
}

/// AFSAuthType.
///
/// # Errors
/// What would be right.
pub(super) fn auth_type(word: &str) -> Result<AuthType, String> {
    match word.to_ascii_lowercase().as_str() {
        "afs" => Ok(AuthType::Afs),
        "none" => Ok(AuthType::None),
        "afs-dfs" => Err("AFS-DFS is not supported: DFS is gone, use AFS".to_owned()),
        _ => Err(format!("'{}' is neither AFS nor None", shortened(word))),
    }
}

/// SetAFSLoginLimit.
///
/// # Errors
/// What would be right.
pub(super) fn login_limit(words: &[String]) -> Result<LoginLimit, String> {
    let at = |i: usize| words.get(i).map_or("", String::as_str);
    Ok(LoginLimit {
        per_user: number(at(0), 1, 1000, "a number of failed logins per user and address")?,
        per_address: number(at(1), 1, 60_000, "a number of failed logins per address")?,
        window_s: number(at(2), 1, 86_400, "a number of seconds")?,
    })
}

/// AFSSandbox.
///
/// # Errors
/// What would be right.
pub(super) fn sandbox(words: &[String]) -> Result<Arc<str>, String> {
    if let [word] = words
        && let Ok(on) = switch(word)
    {
        return Ok(if on { SANDBOX } else { "" }.into());
    }
    let policy = words.join(" ");
    if policy.len() > 2_000 || !policy.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Err("a policy has at most 2000 characters, of ASCII".to_owned());
    }
    // As browsers read it: a comma begins another policy, and letters are large or small.
    let words_of =
        |part: &str| -> Vec<String> { part.split_ascii_whitespace().map(str::to_ascii_lowercase).collect() };
    let parts: Vec<Vec<String>> = policy.split([';', ',']).map(words_of).collect();
    if !parts.iter().any(|words| words.first().is_some_and(|word| word == "sandbox")) {
        return Err(format!("'{}' is neither On nor Off nor a policy with 'sandbox'", shortened(&policy)));
    }
    if parts.iter().flatten().any(|word| word == "allow-same-origin") {
        return Err(
            "a policy with allow-same-origin keeps nobody's pages from acting for their readers".to_owned()
        );
    }
    Ok(policy.into())
}

/// A URL prefix.
///
/// # Errors
/// What would be right.
pub(super) fn location(word: &str) -> Result<String, String> {
    if word.contains(['?', '#', '%', '*']) {
        return Err(format!(
            "'{}' is not a URL prefix such as /afs: no '?', '#', '%' or '*'",
            shortened(word)
        ));
    }
    absolute(word).map_err(|why| format!("{why} (a URL prefix such as /afs is wanted)"))
}
