//! Who a request is from: RFC 7617, RFC 9110, section 11, and docs/admin.md.

use crate::row::{Row, basic, first, get, partners_password, password_in, raw, second, word};
use integration::content::owner_file;
use integration::http::base64;
use integration::world::{FIRST_CELL, SECOND_CELL};

/// The realm of the prompt.
const PROMPT: &str = "Basic realm=\"AFS cell cell.example\"";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = [those_who_log_in(), those_who_do_not()].concat();
    for (name, value, status) in headers() {
        let row = |what: &str, path: &str| get(&format!("{name}, {what}"), &first(path));
        let with = |row: Row| row.header_bytes("Authorization", &value).is(status);
        rows.push(with(row("private file", &owner_file("alice"))));
        rows.push(with(row("public file", "public/plain.txt")));
    }
    rows.extend(several());
    rows
}

/// Logins that succeed.
fn those_who_log_in() -> Vec<Row> {
    let (here, there) = (password_in(FIRST_CELL, "alice"), password_in(SECOND_CELL, "alice"));
    let (alices, hers) = (first(&owner_file("alice")), second(&owner_file("alice")));
    let get_as = |name: &str, path: &str, user: &str, password: &str| {
        get(name, path).typed(user, password).logged_in()
    };
    let colons = password_in(FIRST_CELL, "bob");
    let umlauts = password_in(FIRST_CELL, "carol");
    let partner = partners_password("alice");
    let page = first("partner/page.html");
    vec![
        get_as("alice@cell.example", &alices, "alice@cell.example", here).file_of("alice"),
        get_as("alice@CELL.Example: cells know no case", &alices, "alice@CELL.Example", here)
            .file_of("alice"),
        get_as("alice of the other cell, in the first", &alices, "alice@other.example", there).is(403),
        get_as("alice of the other cell, in hers", &hers, "alice@other.example", there)
            .file_of_cell("alice", SECOND_CELL),
        get_as("alice of the first cell, in the other", &hers, "alice", here).is(403),
        get_as(
            "zoe of the other cell, public file",
            &first("public/plain.txt"),
            "zoe@other.example",
            password_in(SECOND_CELL, "zoe"),
        )
        .publics(),
        get_as(
            "zoe of the other cell, where the first cell's users read",
            &first("auth/page.html"),
            "zoe@other.example",
            password_in(SECOND_CELL, "zoe"),
        )
        .is(403),
        get_as("alice of a partner's realm, where she may read", &page, "alice@PARTNER.EXAMPLE", partner)
            .file_of_cell("alice", "partner.example"),
        get_as("the realm in lower case", &page, "alice@partner.example", partner)
            .file_of_cell("alice", "partner.example"),
        get_as(
            "alice of a partner's realm is not the cell's alice",
            &alices,
            "alice@PARTNER.EXAMPLE",
            partner,
        )
        .is(403),
        get_as("the cell's alice is not the partner's", &page, "alice", here).is(403),
        get_as("an instance", &first("carol-admin/page.html"), "carol/admin", "carol's other pass")
            .file_of("carol.admin"),
        get_as(
            "who has an instance is somebody else without it",
            &first("carol-admin/page.html"),
            "carol",
            umlauts,
        )
        .is(403),
        get_as("a password with colons", &first(&owner_file("bob")), "bob", colons).file_of("bob"),
        get_as("a password in UTF-8", &first(&owner_file("carol")), "carol", umlauts).file_of("carol"),
        get_as("a password of one byte", &first(&owner_file("mallory")), "mallory", "m").file_of("mallory"),
        get("the scheme in lower case", &alices)
            .header("Authorization", &format!("basic {}", word("alice", here)))
            .logged_in()
            .file_of("alice"),
        get("blanks behind the scheme", &alices)
            .header("Authorization", &format!("BASIC    {}  ", word("alice", here)))
            .logged_in()
            .file_of("alice"),
        get("the header's name in capitals", &alices)
            .header("AUTHORIZATION", &basic("alice"))
            .logged_in()
            .file_of("alice"),
        get("a login for a file that is not there", &first("public/absent")).by("alice").is(404),
    ]
}

/// Names and passwords that are nobody's.
fn those_who_do_not() -> Vec<Row> {
    let here = password_in(FIRST_CELL, "alice");
    let there = password_in(SECOND_CELL, "alice");
    let long = |c: char, n: usize| c.to_string().repeat(n);
    let table: Vec<(&str, String, String)> = [
        ("a wrong password", "alice", "not hers"),
        ("the password in capitals", "alice", "WONDERLAND"),
        ("a blank behind the password", "alice", "wonderland "),
        ("a newline behind the password", "alice", "wonderland\n"),
        ("the name in capitals", "Alice", here),
        ("an unknown user", "nobodyhere", "whatever"),
        ("an unknown cell", "alice@nowhere.example", here),
        ("an unknown realm", "alice@NOWHERE.EXAMPLE", here),
        ("a prefix of a cell", "alice@other", there),
        ("a cell with a dot behind", "alice@cell.example.", here),
        ("an empty cell", "alice@", here),
        ("two cells", "alice@cell.example@other.example", there),
        ("the other cell's password", "alice", there),
        ("the first cell's password, in the other cell", "alice@other.example", here),
        (
            "bob of a partner's realm, whom the cell does not know",
            "bob@PARTNER.EXAMPLE",
            partners_password("bob"),
        ),
        ("an empty name", "", here),
        ("an empty name with a cell", "@cell.example", here),
        ("an empty password", "alice", ""),
        ("neither name nor password", "", ""),
        ("an expired password", "pwexpired", "pwexpired's pass"),
        ("a disabled account", "disabled", "disabled's pass"),
        ("an expired account", "expired", "expired's pass"),
        ("a blank in the name", "al ice", "whatever"),
        ("a newline in the name", "al\nice", "whatever"),
        ("fields behind the name", "alice\nother.example\nlooking-glass", "whatever"),
        ("a NUL in the name", "alice\0", here),
        ("a NUL in the password", "alice", "wonder\0land"),
        ("a DEL in the name", "ali\u{7f}ce", "whatever"),
        ("a name in UTF-8", "\u{e4}lice-\u{2603}", "whatever"),
        ("a name of a format", "%s%n%s%n", "whatever"),
        ("a name with a slash for another", "alice/../bob", "whatever"),
        ("a name with quotes", "\"alice\"", "whatever"),
        ("system:administrators", "system:administrators", "whatever"),
        ("anonymous", "anonymous", "anonymous"),
    ]
    .into_iter()
    .map(|(what, name, password)| (what, name.to_owned(), password.to_owned()))
    .chain([
        ("a name of 63 bytes", long('a', 63), "x".to_owned()),
        ("a name of 64 bytes", long('a', 64), "x".to_owned()),
        ("a name of 4,000 bytes", long('a', 4_000), "x".to_owned()),
        ("a cell of 300 bytes", format!("alice@{}", long('c', 300)), "x".to_owned()),
        ("a password of 255 bytes", "alice".to_owned(), long('p', 255)),
        ("a password of 256 bytes", "alice".to_owned(), long('p', 256)),
        ("a password of 5,000 bytes", "alice".to_owned(), long('p', 5_000)),
    ])
    .collect();
    let mut rows: Vec<Row> = Vec::new();
    for (what, name, password) in table {
        let row = get(&format!("{what}: private file"), &first(&owner_file("alice")));
        rows.push(row.typed(&name, &password).is(401).with("WWW-Authenticate", PROMPT));
    }
    // The password is not needed there; who gives one is to know that it is wrong.
    rows.push(
        get("a wrong password: public file", &first("public/plain.txt")).typed("alice", "not hers").is(401),
    );
    rows.push(
        get("a wrong password: absent file", &first("public/absent")).typed("alice", "not hers").is(401),
    );
    rows.push(
        get("a name and password of 9,000 bytes", &first("public/plain.txt"))
            .typed(&long('a', 6_700), "x")
            .is(400),
    );
    rows.push(
        get("a password in Latin 1", &first(&owner_file("carol")))
            .header("Authorization", &format!("Basic {}", base64(b"carol:Sch\xf6ne Gr\xfc\xdfe, ?")))
            .is(401),
    );
    rows.push(
        get("a user's name that is no UTF-8", &first(&owner_file("alice")))
            .header("Authorization", &format!("Basic {}", base64(b"al\xffice:wonderland")))
            .is(401),
    );
    rows
}

/// Values of the header that are no name and password, and what is answered.
fn headers() -> Vec<(&'static str, Vec<u8>, u16)> {
    let good = word("alice", password_in(FIRST_CELL, "alice"));
    let text = |s: &str| s.as_bytes().to_vec();
    vec![
        ("an empty Authorization", text(""), 400),
        ("Basic alone", text("Basic"), 400),
        ("no base64", text("Basic !!!!"), 400),
        ("base64 without a colon in it", text("Basic YWxpY2U="), 400),
        (
            "base64 without padding",
            format!("Basic {}", word("alice", "wonderland").trim_end_matches('=')).into(),
            400,
        ),
        ("base64 with too much padding", format!("Basic {good}==").into(), 400),
        ("base64 with a blank in it", format!("Basic {} {}", &good[..4], &good[4..]).into(), 400),
        ("base64 with junk behind", format!("Basic {good}!").into(), 400),
        ("base64 for URLs", text("Basic YWxpY2U6_-8="), 400),
        ("base64 and a parameter", format!("Basic {good}, charset=UTF-8").into(), 400),
        ("bytes above 127", b"Basic \xff\xfe\xfd\xfc".to_vec(), 400),
        ("a scheme that is no token", b"Ba\xffsic abc".to_vec(), 400),
        ("credentials without a scheme", good.clone().into(), 400),
        ("Bearer", text("Bearer abc.def.ghi"), 401),
        ("Negotiate", text("Negotiate YIIabc="), 401),
        ("NTLM", text("NTLM TlRMTVNTUAAB"), 401),
        (
            "Digest",
            text("Digest username=\"alice\", realm=\"x\", nonce=\"n\", uri=\"/\", response=\"r\""),
            401,
        ),
        ("a scheme that begins as ours", format!("Basicx {good}").into(), 401),
    ]
}

/// More than one header, and headers that are none of ours.
fn several() -> Vec<Row> {
    let alices = first(&owner_file("alice"));
    let (alice, bob) = (basic("alice"), basic("bob"));
    let two = |name: &str, one: &str, other: &str| {
        get(name, &alices).header("Authorization", one).header("Authorization", other).is(400)
    };
    let head = format!("GET {alices} HTTP/1.1\r\nHost: localhost\r\n");
    vec![
        two("two Authorization headers, alice and bob", &alice, &bob),
        two("two Authorization headers, bob and alice", &bob, &alice),
        two("two Authorization headers, both alice's", &alice, &alice),
        get("Basic and Bearer in two headers", &alices)
            .header("Authorization", &alice)
            .header("Authorization", "Bearer abc")
            .is(400),
        get("Proxy-Authorization is no login", &alices).header("Proxy-Authorization", &alice).is(401),
        get("X-Remote-User is no login", &alices)
            .header("X-Remote-User", "alice@cell.example")
            .header("Remote-User", "alice@cell.example")
            .header("X-Forwarded-User", "alice@cell.example")
            .is(401),
        get("AFS_USER as a header is no login", &alices)
            .header("AFS-User", "alice")
            .header("Afs-Cell", "cell.example")
            .is(401),
        get("a cookie is no login", &alices).header("Cookie", &format!("Authorization={alice}")).is(401),
        raw("a header in two lines (obs-fold)", format!("{head}Authorization: Basic\r\n {}\r\n\r\n", word("alice", password_in(FIRST_CELL, "alice"))))
            .logged_in()
            .file_of("alice"),
        raw("a blank before the colon", format!("{head}Authorization : {alice}\r\n\r\n")).is(400),
        raw("a newline alone in the header", format!("{head}X: y\nAuthorization: {alice}\r\n\r\n")).is(400),
        raw("a carriage return alone in the header", format!("{head}X: y\rAuthorization: {alice}\r\n\r\n"))
            .is(400),
        raw("credentials in a trailer of chunks are none", format!("GET {alices} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n0\r\nAuthorization: {alice}\r\n\r\n"))
            .is(401),
    ]
}
