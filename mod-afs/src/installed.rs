//! Are nanny and broker on this disk of the module's version? A package replaces all three, one file after the other.

use crate::httpd;
use core::time::Duration;
use std::path::Path;
use weblog_fds::versions::{fits, of_nanny, versions};
use weblog_proto::versions::of_broker;

/// A program says its version at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// It is no longer.
const LONGEST: usize = 1_024;

/// Whether they are: each by its name, and by that under which it can be executed. Only for programs that root may start.
///
/// # Errors
/// Which one is not, in words for the administrator.
pub fn fit(nanny: (&Path, &Path), broker: (&Path, &Path)) -> Result<(), String> {
    for ((name, file), wanted) in [(nanny, of_nanny()), (broker, of_broker())] {
        let said = httpd::output(file, &["--version"], LONGEST, PATIENCE)
            .map_err(|e| format!("{} does not say of which version it is: {e}", name.display()))?;
        differs(&String::from_utf8_lossy(&said), &wanted)
            .map_or(Ok(()), |how| Err(format!("{} {how}", name.display())))?;
    }
    Ok(())
}

/// How what a program has said differs from what is wanted, if it does.
fn differs(said: &str, wanted: &str) -> Option<String> {
    let has = versions(said).collect::<Vec<_>>().join(" ");
    (!fits(said, wanted)).then(|| {
        let has = if has.is_empty() { "names none".to_owned() } else { format!("has {has}") };
        format!("is of another version than this module: it {has}, the module has {wanted}; install both from one package")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_another_version_is_named_with_both_versions() {
        assert_eq!(differs(&format!("weblog 0.1.0 {}\n", of_broker()), &of_broker()), None);
        let said = differs("weblog 9.9 frames=99 board=1 control=1", "frames=3 board=2 control=1").unwrap();
        assert!(said.contains("has frames=99 board=1 control=1, the module has frames=3"), "{said}");
        assert!(differs("", "frames=3").unwrap().contains("names none"));
    }

    #[test]
    fn a_program_that_says_nothing_or_too_much_is_not_waited_for() {
        for (program, args) in [("/bin/sleep", ["60"]), ("/usr/bin/yes", ["x"])] {
            let begin = std::time::Instant::now();
            let said = httpd::output(Path::new(program), &args, 100, Duration::from_millis(300));
            assert!(said.is_ok_and(|said| said.len() <= 100));
            assert!(begin.elapsed() < Duration::from_secs(20));
        }
        let [nowhere, silent] = [Path::new("/nowhere/at/all"), Path::new("/bin/true")];
        assert!(fit((nowhere, nowhere), (silent, silent)).is_err());
        assert!(fit((silent, silent), (silent, silent)).unwrap_err().contains("names none"));
    }
}
