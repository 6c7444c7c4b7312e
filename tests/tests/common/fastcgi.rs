//! A server of FastCGI: says who it was told that the visitor is, and what it can read of the file that it was asked to run.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Types of records.
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

/// It listens as long as this lives.
pub(crate) struct FastCgi(PathBuf);

impl FastCgi {
    /// At this socket, which everybody may connect to.
    pub(crate) fn listen(path: &Path) -> Self {
        let _ = fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // An empty connection is the end of it.
                if serve(&mut stream.unwrap()).is_none() {
                    return;
                }
            }
        });
        Self(path.to_owned())
    }
}

impl Drop for FastCgi {
    fn drop(&mut self) {
        drop(UnixStream::connect(&self.0));
        let _ = fs::remove_file(&self.0);
    }
}

/// A record: type and content.
fn record(stream: &mut UnixStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 8];
    stream.read_exact(&mut head).ok()?;
    let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
    let mut content = vec![0; length + usize::from(head[6])];
    stream.read_exact(&mut content).ok()?;
    content.truncate(length);
    Some((head[1], content))
}

/// Parameters: lengths of a name and its value (a byte, or four of which the first has its highest bit set), and both.
fn parameters(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    while !bytes.is_empty() {
        let mut length = || {
            let many = bytes[0] & 0x80 != 0;
            let (number, rest) = bytes.split_at(if many { 4 } else { 1 });
            bytes = rest;
            number.iter().fold(0, |sum, b| sum << 8 | usize::from(*b)) & 0x7fff_ffff
        };
        let (name, value) = (length(), length());
        let (text, rest) = bytes.split_at(name + value);
        bytes = rest;
        let text = String::from_utf8_lossy(text);
        all.insert(text[..name].to_owned(), text[name..].to_owned());
    }
    all
}

/// One request; `None` if there is none.
fn serve(stream: &mut UnixStream) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        match record(stream)? {
            (PARAMS, content) => bytes.extend(content),
            (STDIN, content) if content.is_empty() => break,
            _ => {}
        }
    }
    let told = parameters(&bytes);
    let script = &told["SCRIPT_FILENAME"];
    let file = &script[script.find("/afs/").unwrap()..];
    let text = fs::read_to_string(file).unwrap_or_else(|e| format!("{e}\n"));
    let user = told.get("REMOTE_USER").map_or("-", |user| user);
    let answer = format!("Content-Type: text/plain\r\n\r\nuser={user}\nfile={file}\n{text}");
    for (kind, content) in [(STDOUT, answer.as_bytes()), (STDOUT, b""), (END, &[0; 8])] {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        stream.write_all(&[&[1, kind, 0, 1, length[0], length[1], 0, 0], content].concat()).unwrap();
    }
    Some(())
}
