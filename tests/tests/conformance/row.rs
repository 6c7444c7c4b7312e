//! A row of the table: what is sent, and what must come back.

use integration::content::{PUBLIC_LINE, owner_line};
use integration::http::base64;
use integration::world::{CELLS, FIRST_CELL, PARTNER_REALM, REALMS, SECOND_CELL};

/// No answer: the connection is closed.
pub(crate) const CLOSED: u16 = 0;
/// A body without a status line, as HTTP/0.9 has it.
pub(crate) const BARE: u16 = 9;

/// Whose body it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nobody's: no file's text, whatever else it says.
    Nobodys,
    /// It begins with this, and has no other file's text.
    Of(String),
    /// Exactly this.
    Exactly(Vec<u8>),
    /// Nobody's, with this in it.
    Says(String),
    /// No byte.
    None,
}

/// What a header must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Header {
    /// There, with this in it; may be empty.
    Has(&'static str, String),
    /// There, and this.
    Is(&'static str, String),
    /// There, ending so.
    Ends(&'static str, String),
    /// Not there.
    Lacks(&'static str),
    /// There, without this in it.
    HasNot(&'static str, &'static str),
}

/// How a row's request is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    /// On a connection of its own.
    Alone,
    /// In the same packet as the row before.
    Joined,
    /// On the connection of the row before, when that has been answered.
    Behind,
    /// By HTTP/2, with all others that are.
    Http2,
}

/// A row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: &'static str,
    pub(crate) host: Option<String>,
    /// Names and values; `{port}`, `{dir}`, `{etag}`, `{date}` and `{date850}`, `{dateasc}` are filled in.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// Instead of all that: these bytes.
    pub(crate) raw: Option<Vec<u8>>,
    /// The side that sends is closed behind the request.
    pub(crate) cut: bool,
    pub(crate) carried: Carried,
    /// Somebody is logged in by it.
    pub(crate) is_visitor: bool,
    /// What nobody but the visitor and the server may see.
    pub(crate) secrets: Vec<String>,
    /// The file whose validators are filled in.
    pub(crate) validators_of: Option<String>,
    pub(crate) want: u16,
    /// What is seen instead, and why.
    pub(crate) but: Option<(u16, &'static str)>,
    /// What is seen on these clients instead, and why.
    pub(crate) on: Vec<(&'static [&'static str], u16, &'static str)>,
    /// What every answer has, but this one has not, and why.
    pub(crate) spared: Vec<(&'static str, &'static str)>,
    /// On which client it cannot be asked for, and why.
    pub(crate) absent: Vec<(&'static str, &'static str)>,
    pub(crate) whose: Body,
    pub(crate) wanted_headers: Vec<Header>,
    /// Whether `Vary: Authorization` must be there; `None`: as the target says.
    pub(crate) varies: Option<bool>,
    /// Whether the connection must be closed; `None`: as the answer says.
    pub(crate) closes: Option<bool>,
    /// Whether `100 Continue` must come before the answer.
    pub(crate) continues: Option<bool>,
}

/// A request; its target is sent as it is.
pub(crate) fn ask(name: &str, method: &str, target: &str) -> Row {
    Row {
        name: name.to_owned(),
        method: method.to_owned(),
        target: target.to_owned(),
        version: "HTTP/1.1",
        host: Some("localhost:{port}".to_owned()),
        headers: Vec::new(),
        body: Vec::new(),
        raw: None,
        cut: false,
        carried: Carried::Alone,
        is_visitor: false,
        secrets: Vec::new(),
        validators_of: None,
        want: 0,
        but: None,
        on: Vec::new(),
        spared: Vec::new(),
        absent: Vec::new(),
        whose: Body::Nobodys,
        wanted_headers: Vec::new(),
        varies: None,
        closes: None,
        continues: None,
    }
}

/// A GET.
pub(crate) fn get(name: &str, target: &str) -> Row {
    ask(name, "GET", target)
}

/// Bytes as they are, with `{port}` and the like filled in.
pub(crate) fn raw(name: &str, bytes: impl AsRef<[u8]>) -> Row {
    Row { raw: Some(bytes.as_ref().to_vec()), ..ask(name, "GET", "") }
}

/// A path in the first cell.
pub(crate) fn first(path: &str) -> String {
    format!("/afs/{FIRST_CELL}/{path}")
}

/// A path in the second cell.
pub(crate) fn second(path: &str) -> String {
    format!("/afs/{SECOND_CELL}/{path}")
}

/// The password of a user of a cell.
pub(crate) fn password_in(cell: &str, user: &str) -> &'static str {
    let spec = CELLS.iter().find(|c| c.name == cell).expect("such a cell");
    spec.users.iter().find(|u| u.0 == user).expect("such a user").2
}

/// The password of a user of the partner's realm.
pub(crate) fn partners_password(user: &str) -> &'static str {
    let realm = REALMS.iter().find(|r| r.name == PARTNER_REALM).expect("such a realm");
    realm.users.iter().find(|u| u.0 == user).expect("such a user").1
}

/// What stands behind `Basic`.
pub(crate) fn word(user: &str, password: &str) -> String {
    base64(format!("{user}:{password}").as_bytes())
}

/// The value of `Authorization` of a user of the first cell.
pub(crate) fn basic(user: &str) -> String {
    format!("Basic {}", word(user, password_in(FIRST_CELL, user)))
}

impl Row {
    /// In a word, whose body comes with this status.
    pub(crate) fn owner(&self, status: u16) -> String {
        let of =
            |line: &str| line.trim_start_matches("owner: ").lines().next().unwrap_or_default().to_owned();
        match &self.whose {
            _ if status == CLOSED || status == 204 || status == 304 || self.method == "HEAD" => "-".into(),
            Body::None => "-".into(),
            Body::Of(line) if status < 300 => of(line),
            Body::Exactly(bytes) if status < 300 && bytes.starts_with(b"owner: ") => {
                of(&String::from_utf8_lossy(bytes))
            }
            Body::Exactly(_) if status < 300 => "bytes".into(),
            _ => "httpd".into(),
        }
    }

    /// As a user of the first cell.
    pub(crate) fn by(self, user: &str) -> Self {
        self.typed(user, password_in(FIRST_CELL, user)).logged_in()
    }

    /// With name and password as they are typed.
    pub(crate) fn typed(mut self, name: &str, password: &str) -> Self {
        let word = word(name, password);
        if password.len() > 5 {
            self.secrets.extend([word.clone(), password.to_owned()]);
        }
        self.header("Authorization", &format!("Basic {word}"))
    }

    /// The login succeeds.
    pub(crate) fn logged_in(self) -> Self {
        Self { is_visitor: true, ..self }
    }

    /// One more header.
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        self.header_bytes(name, value.as_bytes())
    }

    /// One more header, of any bytes.
    pub(crate) fn header_bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.headers.push((name.to_owned(), value.to_vec()));
        self
    }

    /// A body, with its length.
    pub(crate) fn body(self, body: &[u8]) -> Self {
        let length = body.len().to_string();
        Self { body: body.to_vec(), ..self }.header("Content-Length", &length)
    }

    /// In another version of HTTP.
    pub(crate) fn version(self, version: &'static str) -> Self {
        Self { version, ..self }
    }

    /// With another Host, or none.
    pub(crate) fn host(self, host: Option<&str>) -> Self {
        Self { host: host.map(str::to_owned), ..self }
    }

    /// The side that sends is closed behind it.
    pub(crate) fn cut(self) -> Self {
        Self { cut: true, ..self }
    }

    /// In the same packet as the row before.
    pub(crate) fn joined(self) -> Self {
        Self { carried: Carried::Joined, ..self }
    }

    /// On the connection of the row before.
    pub(crate) fn behind(self) -> Self {
        Self { carried: Carried::Behind, ..self }
    }

    /// By HTTP/2.
    pub(crate) fn http2(self) -> Self {
        Self { carried: Carried::Http2, ..self }
    }

    /// `{etag}` and `{date}` are those of this file, as the same visitor gets it.
    pub(crate) fn validators_of(self, path: &str) -> Self {
        Self { validators_of: Some(path.to_owned()), ..self }
    }

    /// The status.
    pub(crate) fn is(self, want: u16) -> Self {
        Self { want, ..self }
    }

    /// What is seen instead, everywhere, and why.
    pub(crate) fn but(self, seen: u16, why: &'static str) -> Self {
        Self { but: Some((seen, why)), ..self }
    }

    /// What is seen instead with these clients, and why.
    pub(crate) fn on(mut self, clients: &'static [&'static str], seen: u16, why: &'static str) -> Self {
        self.on.push((clients, seen, why));
        self
    }

    /// A thing that every answer has is missing, everywhere, and why; it is called as in `run.rs`.
    pub(crate) fn spares(mut self, what: &'static str, why: &'static str) -> Self {
        self.spared.push((what, why));
        self
    }

    /// It cannot be asked for with this client.
    pub(crate) fn absent(mut self, client: &'static str, why: &'static str) -> Self {
        self.absent.push((client, why));
        self
    }

    /// Whose body it is.
    pub(crate) fn whose(self, whose: Body) -> Self {
        Self { whose, ..self }
    }

    /// 200 and the body of a file that everybody may read.
    pub(crate) fn publics(self) -> Self {
        self.is(200).whose(Body::Of(PUBLIC_LINE.to_owned()))
    }

    /// 200 and the body of a file of this user's of the first cell.
    pub(crate) fn file_of(self, user: &str) -> Self {
        self.file_of_cell(user, FIRST_CELL)
    }

    /// 200 and the body of a file of somebody's.
    pub(crate) fn file_of_cell(self, user: &str, cell: &str) -> Self {
        self.is(200).whose(Body::Of(owner_line(user, cell)))
    }

    /// The body has this in it, and is nobody's.
    pub(crate) fn says(self, part: &str) -> Self {
        self.whose(Body::Says(part.to_owned()))
    }

    /// No body at all.
    pub(crate) fn empty(self) -> Self {
        self.whose(Body::None)
    }

    /// One more thing that a header must be.
    fn wants(mut self, header: Header) -> Self {
        self.wanted_headers.push(header);
        self
    }

    /// A header is there, with this in it.
    pub(crate) fn has(self, name: &'static str, part: &str) -> Self {
        self.wants(Header::Has(name, part.to_owned()))
    }

    /// A header is there, without this in it.
    pub(crate) fn has_not(self, name: &'static str, part: &'static str) -> Self {
        self.wants(Header::HasNot(name, part))
    }

    /// A header is this.
    pub(crate) fn with(self, name: &'static str, value: &str) -> Self {
        self.wants(Header::Is(name, value.to_owned()))
    }

    /// A header ends so.
    pub(crate) fn ends(self, name: &'static str, end: &str) -> Self {
        self.wants(Header::Ends(name, end.to_owned()))
    }

    /// A header is not there.
    pub(crate) fn lacks(self, name: &'static str) -> Self {
        self.wants(Header::Lacks(name))
    }

    /// Whether caches must tell visitors apart.
    pub(crate) fn varies(self, varies: bool) -> Self {
        Self { varies: Some(varies), ..self }
    }

    /// Whether the connection is closed behind the answer.
    pub(crate) fn closes(self, closes: bool) -> Self {
        Self { closes: Some(closes), ..self }
    }

    /// Whether the server says "continue" first.
    pub(crate) fn continues(self, continues: bool) -> Self {
        Self { continues: Some(continues), ..self }
    }
}
