//! Test programs that run in guests, for `cargo xtask vm test` and `cargo xtask test`.

use crate::plan::{self, Choice};
use crate::report::Line;
use crate::suites::{self, Suite, Way};
use crate::{cell, say, vm};
use anyhow::Result;
use integration::guest::Ender;
use integration::httpd::Mpm;
use integration::kernel_client::KernelClient;
use integration::method::Method;
use std::time::Duration;

/// A test program.
struct GuestSuite {
    package: &'static str,
    test: &'static str,
    /// The clients that it is run on, each in a guest of its own.
    clients: &'static [KernelClient],
    /// The MPMs that it is run with, one after the other (`AFSWEB_MPM`); none: it does not depend on that.
    mpms: &'static [Mpm],
    /// Those of them that the usual run has; with `--suite` event is one of them in any case.
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

    /// The same under each MPM; in the usual run under these.
    const fn under_mpms(test: &'static str, short: &'static [Mpm]) -> Self {
        Self { mpms: &Mpm::ALL, short, ..Self::new("integration", test) }
    }
}

/// All of them.
const GUEST_SUITES: &[GuestSuite] = &[
    GuestSuite::new("integration", "guest"),
    // `scene` is no test: the others start it in processes of their own.
    GuestSuite {
        clients: &[KernelClient::Kafs],
        args: &["--skip", "scene"],
        ..GuestSuite::new("pag", "kernel_live")
    },
    // OpenAFS's tokens are not keys, so no quota of keys counts them.
    GuestSuite {
        clients: &[KernelClient::Openafs],
        args: &["--skip", "scene", "--skip", "the_quota_of_keys"],
        ..GuestSuite::new("pag", "kernel_live")
    },
    GuestSuite { methods: &Method::ALL, ..GuestSuite::under_mpms("access", &[Mpm::Event]) },
    GuestSuite::under_mpms("tickets", &[]),
    // As above, `scene` is no test.
    GuestSuite { args: &["--skip", "scene"], ..GuestSuite::under_mpms("kernel", &[Mpm::Event]) },
    // What is left out is about the broker under a load that takes an emulated machine too long.
    GuestSuite {
        args: &["--skip", "hundreds_of_requests", "--skip", "visitors_of_one_address_whose_logins"],
        ..GuestSuite::under_mpms("logins", &[])
    },
    GuestSuite { methods: &Method::ALL, ..GuestSuite::under_mpms("secrets", &[]) },
    GuestSuite::under_mpms("krb5", &[]),
    GuestSuite::under_mpms("services", &[]),
    GuestSuite::under_mpms("refusals", &[]),
    GuestSuite::under_mpms("http", &[]),
    GuestSuite::under_mpms("conformance", &[]),
    GuestSuite::under_mpms("require", &[]),
    GuestSuite::under_mpms("hostile", &[]),
    GuestSuite::under_mpms("features", &[]),
    // What is left out is about our own listings, which a client in the kernel has not: it has its own patience with silent
    // servers, and an emulated machine takes too long to make ten thousand names.
    GuestSuite {
        args: &["--skip", "a_directory_of_ten_thousand_names", "--skip", "a_silent_server_costs_a_listing"],
        ..GuestSuite::under_mpms("listings", &[])
    },
    GuestSuite::under_mpms("writing", &[]),
    GuestSuite::under_mpms("transport", &[]),
    GuestSuite::under_mpms("status", &[]),
    GuestSuite::under_mpms("lifecycle", &[]),
    GuestSuite::under_mpms("restarts", &[]),
    // What is left out replaces the user-space client's object.
    GuestSuite { args: &["--skip", "load_the_client_that_fits"], ..GuestSuite::under_mpms("upgrade", &[]) },
    GuestSuite::under_mpms("release", &[]),
    GuestSuite::under_mpms("leaks", &[]),
    GuestSuite { clients: &[KernelClient::Openafs], ..GuestSuite::under_mpms("availability", &[]) },
    // What is left out had Linux 6.1 panic: docs/facts.md, "Linux kAFS", of silent file servers.
    GuestSuite {
        clients: &[KernelClient::Kafs],
        args: &["--skip", "with_a_silent_file_server"],
        ..GuestSuite::under_mpms("availability", &[])
    },
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

impl GuestSuite {
    /// The MPMs that are enough: in the usual run, or where a suite of the plan was asked for.
    fn usual(&self, choice: &Choice<'_>) -> &'static [Mpm] {
        if self.short.is_empty() && choice.suite.is_some() { &[Mpm::Event] } else { self.short }
    }

    /// With these MPMs it is run; `None`: with none, since none is wanted.
    fn mpms(&self, choice: &Choice<'_>) -> Option<Vec<Option<Mpm>>> {
        if self.mpms.is_empty() {
            return Some(vec![None]);
        }
        let some = choice.mpms(self.mpms, self.usual(choice), choice.is_named());
        (!some.is_empty()).then(|| some.into_iter().map(Some).collect())
    }

    /// By these methods; one is enough where not all was asked for: what a token is from makes no difference to a
    /// client's PAGs.
    fn methods(&self, choice: &Choice<'_>) -> &'static [Method] {
        match self.methods {
            [_, ..] if !choice.is_named() => &[Method::Krb5],
            all => all,
        }
    }
}

/// The programs' names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    GUEST_SUITES.iter().map(|row| row.test)
}

/// Whether any of them is chosen.
pub(crate) fn any(choice: &Choice<'_>) -> bool {
    KernelClient::ALL.into_iter().any(|client| is_for(choice, client))
}

/// Whether one is chosen for this client.
pub(crate) fn is_for(choice: &Choice<'_>, client: KernelClient) -> bool {
    chosen(choice, client).next().is_some()
}

/// Those that are chosen for a client, the filters for their tests (none: all of them), and the MPMs that they are run with.
fn chosen<'a>(
    choice: &'a Choice<'_>,
    client: KernelClient,
) -> impl Iterator<Item = (&'static GuestSuite, &'static [&'static str], Vec<Option<Mpm>>)> + use<'a> {
    let wanted = choice.client.is_none_or(|c| c == client);
    GUEST_SUITES
        .iter()
        .filter(move |row| wanted && row.clients.contains(&client))
        .filter_map(move |row| Some((row, choice.tests_of(row.test)?, row.mpms(choice)?)))
}

/// Builds the programs of all that is chosen.
///
/// # Errors
/// One cannot be built.
pub(crate) fn build(choice: &Choice<'_>) -> Result<()> {
    for client in KernelClient::ALL {
        suites(choice, client)?;
    }
    Ok(())
}

/// What is chosen and nevertheless not run: the program, and the ways.
pub(crate) fn left_out(choice: &Choice<'_>) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    if choice.is_named() {
        return out;
    }
    for row in GUEST_SUITES.iter().filter(|row| choice.tests_of(row.test).is_some()) {
        let mpms: Vec<Mpm> = row.mpms.iter().copied().filter(|m| !row.usual(choice).contains(m)).collect();
        out.extend(plan::ways("guests", &mpms).map(|ways| (row.test, ways)));
        if row.methods.len() > 1 {
            out.push((row.test, "guests; by kaserver".to_owned()));
        }
    }
    out
}

/// The suites for a client, with their programs built.
fn suites(choice: &Choice<'_>, client: KernelClient) -> Result<Vec<Suite>> {
    let limit = if choice.long { LONG_SUITE_LIMIT } else { SUITE_LIMIT };
    let mut all = Vec::new();
    for (row, filters, mpms) in chosen(choice, client) {
        let program = suites::build(row.package, row.test)?;
        let next = (row.test == suites::NEXT).then(cell::build_next).transpose()?;
        for way in Way::all(client.as_str(), &mpms, row.methods(choice)) {
            let mut suite = Suite::new(row.test, &program, way, filters, choice.long).with_args(row.args);
            suite.env.extend(row.env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
            suite.env.extend(next.as_deref().map(suites::next_at));
            suite.limit_s = limit.as_secs();
            all.push(suite);
        }
    }
    Ok(all)
}

/// Runs what was chosen, in one guest for each client; a guest that cannot be had is a failure of its suites.
///
/// # Errors
/// A test program cannot be built; files of the results.
pub(crate) fn run(choice: &Choice<'_>, ender: &Ender, lines: &mut Vec<Line>) -> Result<()> {
    for client in KernelClient::ALL {
        if ender.has_ended() {
            break;
        }
        let chosen = suites(choice, client)?;
        if chosen.is_empty() {
            continue;
        }
        let name = format!("test-{client}");
        let suites_limit: Duration = chosen.iter().map(|s| Duration::from_secs(s.limit_s)).sum();
        match vm::prepare(client, &name, START_LIMIT + suites_limit, ender) {
            Ok(launcher) => suites::run(&name, &chosen, STARTS, lines, |command| launcher.run(command))?,
            Err(e) => {
                say(&format!("no guest for {client}: {e:#}"));
                lines.extend(chosen.iter().map(|s| s.failed(0.0)));
            }
        }
    }
    Ok(())
}
