//! Test programs that run in guests, for `cargo xtask vm test` and `cargo xtask test`.

use crate::report::Line;
use crate::suites::{self, Suite};
use crate::{say, vm};
use anyhow::Result;
use integration::guest::Ender;
use integration::httpd::Mpm;
use integration::kernel_client::KernelClient;
use integration::method::{self, Method};
use std::time::Duration;

/// A test program.
struct GuestSuite {
    package: &'static str,
    test: &'static str,
    /// The clients that it is run on, each in a guest of its own.
    clients: &'static [KernelClient],
    /// The MPMs that it is run with, one after the other (`AFSWEB_MPM`); none: it does not depend on that.
    mpms: &'static [Mpm],
    /// Those of them that are enough without `--long`.
    short: &'static [Mpm],
    /// The methods by which users log in, one after the other (`AFSWEB_METHOD`); none: it has its own.
    methods: &'static [Method],
    /// More arguments of libtest's, as names of tests.
    args: &'static [&'static str],
    /// More of its environment, besides `AFSWEB_CLIENT` and `AFSWEB_LONG`.
    env: &'static [(&'static str, &'static str)],
}

impl GuestSuite {
    /// All tests of a program, on each client.
    const fn new(package: &'static str, test: &'static str) -> Self {
        Self {
            package,
            test,
            clients: &KernelClient::ALL,
            mpms: &[],
            short: &[],
            methods: &[],
            args: &[],
            env: &[],
        }
    }

    /// The same under each MPM; without `--long` under these.
    const fn under_mpms(test: &'static str, short: &'static [Mpm]) -> Self {
        Self { mpms: &Mpm::ALL, short, ..Self::new("integration", test) }
    }
}

/// All of them.
const GUEST_SUITES: &[GuestSuite] = &[
    GuestSuite::new("integration", "guest"),
    GuestSuite::new("pag", "kernel_live"),
    GuestSuite { methods: &Method::ALL, ..GuestSuite::under_mpms("access", &[Mpm::Event]) },
    GuestSuite::under_mpms("tickets", &[]),
    GuestSuite::under_mpms("kernel", &[Mpm::Event]),
    // What is left out is about the broker under a load that takes an emulated machine too long.
    GuestSuite { args: &["--skip", "hundreds_of_requests"], ..GuestSuite::under_mpms("logins", &[]) },
    GuestSuite::under_mpms("http", &[]),
    GuestSuite::under_mpms("hostile", &[]),
    GuestSuite::under_mpms("writing", &[]),
    GuestSuite::under_mpms("transport", &[]),
    GuestSuite::under_mpms("stress", &[]),
    // The volumes of a release would take an emulated machine hours.
    GuestSuite { env: &[("AFSWEB_LONG", "0")], ..GuestSuite::under_mpms("chaos", &[]) },
];

/// No suite in a guest runs longer.
const SUITE_LIMIT: Duration = Duration::from_secs(30 * 60);
/// With `--long`.
const LONG_SUITE_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
/// For what comes before the suites in a guest.
const START_LIMIT: Duration = Duration::from_secs(10 * 60);

/// How often a guest that does not come up is started.
const STARTS: u32 = 2;

/// Which suites.
#[derive(Debug, Default)]
pub(crate) struct Choice<'a> {
    /// The volumes of a release.
    pub(crate) long: bool,
    /// Only those whose name contains this.
    pub(crate) only: Option<&'a str>,
    /// Only on this client.
    pub(crate) client: Option<KernelClient>,
    /// Only with this MPM, where it matters.
    pub(crate) mpm: Option<Mpm>,
}

impl Choice<'_> {
    /// The suites for a client, with their programs built.
    fn suites(&self, client: KernelClient) -> Result<Vec<Suite>> {
        let limit = if self.long { LONG_SUITE_LIMIT } else { SUITE_LIMIT };
        let mut chosen = Vec::new();
        for row in GUEST_SUITES {
            if !row.clients.contains(&client) || self.only.is_some_and(|o| !row.test.contains(o)) {
                continue;
            }
            let mpms: Vec<Option<Mpm>> = match row.mpms {
                [] => vec![None],
                // Who names a suite or an MPM wants it.
                all => {
                    let named = self.long || self.only.is_some() || self.mpm.is_some();
                    let some = if named { all } else { row.short };
                    some.iter().filter(|m| self.mpm.is_none_or(|o| o == **m)).map(|m| Some(*m)).collect()
                }
            };
            if mpms.is_empty() {
                continue;
            }
            let program = suites::build(row.package, row.test)?;
            let named = self.long || self.only.is_some() || self.mpm.is_some();
            let methods: Vec<Option<Method>> = match row.methods {
                [] => vec![None],
                // One is enough in the usual run: what a token is from makes no difference to a client's PAGs.
                _ if !named => vec![Some(Method::Krb5)],
                some => some.iter().copied().map(Some).collect(),
            };
            let ways = mpms.iter().flat_map(|mpm| methods.iter().map(|method| (*mpm, *method)));
            for (mpm, method) in ways {
                let mut env = vec![("AFSWEB_LONG".to_owned(), u8::from(self.long).to_string())];
                env.extend(row.env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
                env.extend(mpm.map(|m| ("AFSWEB_MPM".to_owned(), m.as_str().to_owned())));
                env.extend(method.map(|m| (method::VARIABLE.to_owned(), m.as_str().to_owned())));
                let mut args = vec!["--include-ignored".to_owned(), "--test-threads=1".to_owned()];
                args.extend(row.args.iter().chain(suites::args_under(mpm)).map(|&a| a.to_owned()));
                let ways = [method.map(Method::as_str), Some(client.as_str()), mpm.map(Mpm::as_str)];
                chosen.push(Suite {
                    name: suites::name_with(row.test, &ways),
                    program: program.clone(),
                    args,
                    env,
                    limit_s: limit.as_secs(),
                });
            }
        }
        Ok(chosen)
    }
}

/// Runs what was chosen, in one guest for each client; a guest that cannot be had is a failure of its suites.
///
/// # Errors
/// A test program cannot be built; files of the results.
pub(crate) fn run(choice: &Choice<'_>, ender: &Ender, lines: &mut Vec<Line>) -> Result<()> {
    for client in KernelClient::ALL {
        if choice.client.is_some_and(|c| c != client) || ender.has_ended() {
            continue;
        }
        let chosen = choice.suites(client)?;
        if chosen.is_empty() {
            continue;
        }
        let name = format!("test-{client}");
        let suites_limit: Duration = chosen.iter().map(|s| Duration::from_secs(s.limit_s)).sum();
        match vm::prepare(client, &name, START_LIMIT + suites_limit, ender) {
            Ok(launcher) => suites::run(&name, &chosen, STARTS, lines, |command| launcher.run(command))?,
            Err(e) => {
                say(&format!("no guest for {client}: {e:#}"));
                lines.extend(chosen.iter().map(|s| Line::failed(&s.name, 0.0)));
            }
        }
    }
    Ok(())
}
