//! The first file system of a guest: busybox, the modules that reach the host's files, a script that makes the root of them.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What the root needs.
const MODULES: [&str; 5] = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console"];

/// The archive: boots into `executable` with `args`, on an overlay of the exports `lowers` (the first on top).
pub(super) fn build(
    busybox: &Path,
    modules: &Path,
    lowers: &[&str],
    executable: &Path,
    args: &[&str],
) -> Result<Vec<u8>> {
    let files = in_loading_order(modules)?;
    let mut archive = Archive::default();
    let lower_dirs: Vec<String> = lowers.iter().map(|tag| format!("lower/{tag}")).collect();
    for dir in ["bin", "modules", "proc", "sys", "dev", "lower", "over", "root"] {
        archive.directory(dir);
    }
    for dir in &lower_dirs {
        archive.directory(dir);
    }
    archive.file("bin/busybox", &fs::read(busybox).with_context(|| busybox.display().to_string())?);
    let mut names = Vec::new();
    for file in &files {
        let name = file.file_name().and_then(|n| n.to_str()).context("odd name of a module")?;
        archive
            .file(&format!("modules/{name}"), &fs::read(file).with_context(|| file.display().to_string())?);
        names.push(name);
    }
    archive.file("init", script(&names, lowers, executable, args).as_bytes());
    Ok(archive.end())
}

/// What runs first of all.
fn script(modules: &[&str], lowers: &[&str], executable: &Path, args: &[&str]) -> String {
    let busybox = "/bin/busybox";
    let mut s = format!(
        "#!{busybox} sh\nset -e\n{busybox} mount -t devtmpfs dev /dev\n\
         for m in {}; do {busybox} insmod /modules/$m; done\n",
        modules.join(" ")
    );
    for tag in lowers {
        s.push_str(&format!(
            "{busybox} mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,ro,cache=loose {tag} /lower/{tag}\n"
        ));
    }
    let lowerdir: Vec<String> = lowers.iter().map(|tag| format!("/lower/{tag}")).collect();
    s.push_str(&format!(
        "{busybox} mount -t tmpfs -o mode=0755,size=80% over /over\n{busybox} mkdir /over/upper /over/work\n\
         {busybox} mount -t overlay -o lowerdir={},upperdir=/over/upper,workdir=/over/work root /root\n\
         {busybox} umount /dev\n\
         exec {busybox} switch_root /root {}",
        lowerdir.join(":"),
        quoted(&executable.display().to_string())
    ));
    for arg in args {
        s.push(' ');
        s.push_str(&quoted(arg));
    }
    s.push('\n');
    s
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The files of [`MODULES`] and of what they need, in the order in which they can be loaded.
fn in_loading_order(tree: &Path) -> Result<Vec<PathBuf>> {
    let list = tree.join("modules.dep");
    let text = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    let needs = needs_of(&text);
    let mut order: Vec<PathBuf> = Vec::new();
    for module in MODULES {
        // One that is not listed is part of the kernel.
        let Some((file, needed)) = needs.get(module) else { continue };
        // A module's needs stand before what they need themselves.
        for f in needed.iter().rev().chain([file]) {
            let path = tree.join(f);
            if !order.contains(&path) {
                order.push(path);
            }
        }
    }
    Ok(order)
}

/// Reads modules.dep: name of a module to its file and the files that it needs.
fn needs_of(text: &str) -> BTreeMap<String, (&str, Vec<&str>)> {
    text.lines()
        .filter_map(|line| {
            let (file, needed) = line.split_once(':')?;
            let name = Path::new(file).file_name()?.to_str()?.split('.').next()?.replace('-', "_");
            Some((name, (file, needed.split_whitespace().collect())))
        })
        .collect()
}

/// An archive of cpio's "newc" kind, which the kernel unpacks.
#[derive(Debug, Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, body: &[u8]) {
        self.entry(name, 0o100_755, body);
    }

    /// Header of 110 bytes, name with NUL, body; name and body filled up to multiples of four.
    fn entry(&mut self, name: &str, mode: u32, body: &[u8]) {
        self.entries += 1;
        // Inode, mode, owner, group, links, time, size, device and device of a node (four), length of the name, checksum.
        let header = [
            u64::from(self.entries),
            mode.into(),
            0,
            0,
            1,
            0,
            body.len() as u64,
            0,
            0,
            0,
            0,
            name.len() as u64 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in header {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.fill_up();
        self.bytes.extend_from_slice(body);
        self.fill_up();
    }

    fn fill_up(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_modules_is_read() {
        let needs =
            needs_of("kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/a-b.ko\nkernel/fs/a-b.ko:\n");
        assert_eq!(needs["9p"], ("kernel/fs/9p/9p.ko", vec!["kernel/net/9p/9pnet.ko", "kernel/fs/a-b.ko"]));
        assert_eq!(needs["a_b"].1, Vec::<&str>::new());
    }

    #[test]
    fn entries_of_the_archive_are_aligned() {
        let mut archive = Archive::default();
        archive.file("x", b"12345");
        let bytes = archive.end();
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.starts_with(b"07070100000001000081ed"));
        assert_eq!(&bytes[110..112], b"x\0");
        assert_eq!(&bytes[112..117], b"12345");
        assert_eq!(&bytes[120..126], b"070701");
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quoted("a b'c"), "'a b'\\''c'");
    }
}
