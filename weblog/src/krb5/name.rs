//! What AFS servers call a principal of Kerberos 5: `name.instance`, or the name that Kerberos 4 had for a service.
//!
//! By OpenAFS's `src/rxkad/ticket5.c`, which takes MIT's table of services (`krb5_524_conv_principal`).

use pag::Realm;

/// Services whose instance is a host: of its name only the first label is kept. The server compares the beginning only.
const OF_HOSTS: &[(&str, &str)] = &[
    ("host", "rcmd"),
    ("discuss", "discuss"),
    ("rvdsrv", "rvdsrv"),
    ("sample", "sample"),
    ("olc", "olc"),
    ("pop", "pop"),
    ("sis", "sis"),
    ("rfs", "rfs"),
    ("imap", "imap"),
    ("ftp", "ftp"),
    ("ecat", "ecat"),
    ("daemon", "daemon"),
    ("gnats", "gnats"),
    ("moira", "moira"),
    ("prms", "prms"),
    ("mandarin", "mandarin"),
    ("register", "register"),
    ("changepw", "changepw"),
    ("sms", "sms"),
    ("afpserver", "afpserver"),
    ("gdss", "gdss"),
    ("news", "news"),
    ("abs", "abs"),
    ("nfs", "nfs"),
    ("tftp", "tftp"),
    ("http", "http"),
    ("khttp", "khttp"),
    ("pgpsigner", "pgpsigner"),
    ("irc", "irc"),
    ("write", "write"),
    ("palladium", "palladium"),
    ("smtp", "smtp"),
    ("lmtp", "lmtp"),
    ("ldap", "ldap"),
    ("acap", "acap"),
    ("argus", "argus"),
    ("mupdate", "mupdate"),
];
/// Services that lose their instance.
const ALONE: &[&str] = &["kadmin", "zephyr"];

/// The name of a principal in the protection database: a realm that is not the cell's own stands behind it in lower case.
pub(super) fn afs_name(name: &str, foreign: Option<&Realm>) -> String {
    let name = match name.split_once('/') {
        None => name.to_owned(),
        Some((first, second)) => of_two(first, second),
    };
    match foreign {
        Some(realm) => format!("{name}@{}", realm.as_str().to_ascii_lowercase()),
        None => name,
    }
}

/// The name of a principal with an instance.
fn of_two(first: &str, second: &str) -> String {
    if let Some(service) = ALONE.iter().find(|service| first.starts_with(**service)) {
        return (*service).to_owned();
    }
    let service = OF_HOSTS.iter().find(|(krb5, _)| first.starts_with(krb5));
    match (service, second.split_once('.')) {
        (Some((_, krb4)), Some((label, _))) => format!("{krb4}.{label}"),
        // Without a dot the server takes no service of a host; whoever he is, it is not for us to say.
        _ => format!("{first}.{second}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cell_calls_instances_and_users_of_other_realms_so() {
        let realm = Realm::new("Other.EXAMPLE").unwrap();
        assert_eq!(afs_name("alice", None), "alice");
        assert_eq!(afs_name("carol/admin", None), "carol.admin");
        assert_eq!(afs_name("carol/admin", Some(&realm)), "carol.admin@other.example");
    }

    #[test]
    fn the_cell_calls_services_as_kerberos_4_did() {
        for (krb5, afs) in [
            ("host/www.cell.example", "rcmd.www"),
            ("http/www.cell.example", "http.www"),
            ("daemon/www.cell.example", "daemon.www"),
            ("HTTP/www.cell.example", "HTTP.www.cell.example"),
            ("www/www.cell.example", "www.www.cell.example"),
            ("zephyr/zephyr", "zephyr"),
            ("httpd/www.cell.example", "http.www"),
        ] {
            assert_eq!(afs_name(krb5, None), afs, "{krb5}");
        }
    }
}
