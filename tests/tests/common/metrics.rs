//! What an httpd says of itself as OpenMetrics.

use integration::httpd::Httpd;

/// Configuration of the place where [`read`] asks.
pub(crate) const PLACE: &str =
    "<Location /metrics>\nSetHandler afs-metrics\nRequire all granted\n</Location>\n";

/// All of it.
pub(crate) fn text(httpd: &Httpd) -> String {
    let r = httpd.get("/metrics").unwrap();
    assert_eq!(r.status, 200);
    assert!(r.header("Content-Type").is_some_and(|t| t.starts_with("application/openmetrics-text")));
    let text = r.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    text
}

/// One number, without the prefix `afsweb_`; `None` if it is not there.
pub(crate) fn find(httpd: &Httpd, name: &str) -> Option<u64> {
    let text = text(httpd);
    let value = text.lines().find_map(|l| l.strip_prefix("afsweb_")?.strip_prefix(name)?.strip_prefix(' '));
    value.map(|v| v.parse().unwrap())
}

/// As [`find`], of one that has to be there.
pub(crate) fn read(httpd: &Httpd, name: &str) -> u64 {
    let value = find(httpd, name);
    assert!(value.is_some(), "{name} is not in {}", text(httpd));
    value.unwrap()
}

/// Several at a time.
pub(crate) fn all<const N: usize>(httpd: &Httpd, names: [&str; N]) -> [u64; N] {
    names.map(|name| read(httpd, name))
}
