//! What a world has of its own besides files: addresses, names, users, the AFS client's configuration.

use super::{Plan, SELF_INSIDE};
use crate::world::{self, CELLS, CONF_DIR, STATE_DIR};
use crate::{process, realm};
use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Time for a small system program.
const TOOL_LIMIT: Duration = Duration::from_secs(30);
/// The network device of the world.
const DEVICE: &str = "afs0";
/// The broker's user.
const BROKER_USER: &str = "weblog";

/// Makes all of it.
pub(crate) fn make(plan: &Plan) -> Result<()> {
    make_network()?;
    make_configuration(plan)
}

/// The addresses of the world. The servers refuse loopback devices; a tap device needs no peer.
fn make_network() -> Result<()> {
    let ip = |args: &[&str]| process::run(Command::new("ip").args(args), TOOL_LIMIT);
    ip(&["link", "set", "lo", "up"])?;
    if !Path::new("/dev/net/tun").exists() {
        make_tun();
    }
    let kinds: [&[&str]; 3] = [
        &["tuntap", "add", "mode", "tap", "name", DEVICE],
        &["link", "add", DEVICE, "type", "dummy"],
        &["link", "add", DEVICE, "type", "veth", "peer", "name", "afs1"],
    ];
    let mut refused = Vec::new();
    if !kinds.iter().any(|args| ip(args).map_err(|e| refused.push(format!("{e:#}"))).is_ok()) {
        bail!("no network device for the servers (tap, dummy and veth tried):\n{}", refused.join("\n"));
    }
    for (_, address) in CELLS.iter().flat_map(|c| c.machines) {
        ip(&["addr", "add", &format!("{address}/24"), "dev", DEVICE])?;
    }
    ip(&["link", "set", DEVICE, "up"])?;
    Ok(())
}

/// The node of the tap driver; where it cannot be made, another device has to do.
fn make_tun() {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let _ = fs::create_dir_all("/dev/net");
    let _ = mknod("/dev/net/tun", SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(10, 200));
}

/// Names, users and the AFS client's configuration of the world.
fn make_configuration(plan: &Plan) -> Result<()> {
    nix::unistd::sethostname("web.cell.example").context("host name")?;
    let mut hosts = String::from("127.0.0.1 localhost\n");
    let mut cell_serv_db = String::new();
    for cell in &CELLS {
        for (n, (short, address)) in cell.machines.iter().enumerate() {
            hosts.push_str(&format!("{address} {short}.{}\n", cell.name));
            if n == 0 {
                cell_serv_db
                    .push_str(&format!(">{} #test cell\n{address} #{short}.{}\n", cell.name, cell.name));
            }
        }
        if cell.name == world::FIRST_CELL
            && let Some((_, address)) = cell.machines.first()
        {
            hosts.push_str(&format!("{address} web.cell.example\n"));
        }
    }
    replace("/etc/hosts", &hosts)?;
    replace("/etc/hostname", "web.cell.example\n")?;
    // Nobody answers here: a query would only cost time.
    replace("/etc/resolv.conf", "")?;
    let switch = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let others: Vec<&str> = switch.lines().filter(|l| !l.trim_start().starts_with("hosts:")).collect();
    replace("/etc/nsswitch.conf", &format!("{}\nhosts: files\n", others.join("\n")))?;
    if Path::new(CONF_DIR).exists() {
        fs::remove_dir_all(CONF_DIR)?;
    }
    for dir in
        [CONF_DIR, STATE_DIR, "/var/lib/openafs", "/var/log/openafs", "/vicepa", "/afs", "/var/cache/openafs"]
    {
        fs::create_dir_all(dir).with_context(|| dir.to_owned())?;
    }
    replace("/etc/openafs/ThisCell", &format!("{}\n", world::FIRST_CELL))?;
    replace("/etc/openafs/CellServDB", &cell_serv_db)?;
    replace("/etc/openafs/cacheinfo", "/afs:/var/cache/openafs:50000\n")?;
    replace("/etc/krb5.conf", &realm::client_configuration())?;
    mount(Some("afsweb-state"), STATE_DIR, Some("tmpfs"), MsFlags::empty(), Some("mode=0755,size=90%"))
        .context("state of the servers")?;
    add_user(BROKER_USER)?;
    std::os::unix::fs::symlink(&plan.executable, SELF_INSIDE).context(SELF_INSIDE)?;
    Ok(())
}

/// Writes a file anew, also where a link stood.
fn replace(file: &str, text: &str) -> Result<()> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).with_context(|| file.to_owned()),
        _ => fs::write(file, text).with_context(|| file.to_owned()),
    }
}

/// A system user and his group, if there is none of that name.
fn add_user(name: &str) -> Result<()> {
    let mut passwd = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    let mut group = fs::read_to_string("/etc/group").context("/etc/group")?;
    let has = |text: &str| text.lines().any(|l| l.split(':').next() == Some(name));
    if has(&passwd) {
        return Ok(());
    }
    let taken = |id: u32| {
        let id = id.to_string();
        passwd.lines().chain(group.lines()).any(|l| l.split(':').nth(2) == Some(id.as_str()))
    };
    let id = (900..999).rev().find(|&id| !taken(id)).context("no free system user id")?;
    if !has(&group) {
        group.push_str(&format!("{name}:x:{id}:\n"));
    }
    passwd.push_str(&format!("{name}:x:{id}:{id}::/nonexistent:/usr/sbin/nologin\n"));
    replace("/etc/passwd", &passwd)?;
    replace("/etc/group", &group)
}
