//! An httpd that speaks TLS.

use super::start_with;
use integration::httpd::Httpd;
use integration::world::World;
use std::process::Command;

/// A self-signed certificate and its key, in PEM files.
pub(crate) fn certificate(world: &World) -> (String, String) {
    let dir = world.results.join("tls");
    std::fs::create_dir_all(&dir).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let out = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    (cert.display().to_string(), key.display().to_string())
}

/// httpd on TLS only, logins nowhere else.
pub(crate) fn tls_httpd(world: &World, more: &str) -> Httpd {
    let (cert, key) = certificate(world);
    let tls = format!(
        "SSLEngine On\nSSLCertificateFile {cert}\nSSLCertificateKeyFile {key}\nSetAFSRequireTLS On\n{more}"
    );
    start_with(world, &tls, |mut o| {
        o.modules.extend(["socache_shmcb", "ssl", "http2"].map(String::from));
        o
    })
}
