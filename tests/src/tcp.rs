//! What Linux's TCP counts of connections that it or a process reset: a test that was reset cannot tell who did it.

use std::fs;

/// Words in the names of counters that tell.
const TELLING: [&str; 6] = ["Rst", "Reset", "Abort", "PAWS", "Overflow", "Drop"];

/// The counters that tell and are not zero, of this network namespace since its beginning: `OutRsts 16, TCPAbortOnData 2`.
pub(crate) fn resets() -> String {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let (snmp, netstat) = (read("/proc/net/snmp"), read("/proc/net/netstat"));
    [telling(&snmp, "Tcp:"), telling(&netstat, "TcpExt:")].concat().join(", ")
}

/// Those of one group: a line with names, and then one with values.
fn telling(text: &str, group: &str) -> Vec<String> {
    let mut lines = text.lines().filter_map(|l| l.strip_prefix(group)).map(str::split_whitespace);
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return Vec::new() };
    names
        .zip(values)
        .filter(|(name, value)| *value != "0" && TELLING.iter().any(|word| name.contains(word)))
        .map(|(name, value)| format!("{name} {value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_resets_and_has_happened_is_shown() {
        let text = "IpExt: InNoRoutes\nIpExt: 3\nTcpExt: PAWSEstab TW TCPAbortOnData TCPAbortOnClose\nTcpExt: 12 7 2 0\n";
        assert_eq!(telling(text, "TcpExt:"), ["PAWSEstab 12", "TCPAbortOnData 2"]);
        assert!(telling(text, "Tcp:").is_empty());
    }
}
