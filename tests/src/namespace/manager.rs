//! The role *manager*: starts cells, kaservers and httpd, then the command.

use super::{Contents, Plan, code};
use crate::built;
use crate::cell::Cell;
use crate::httpd::{self, Httpd};
use crate::kaserver::TestKaserver;
use crate::kdc::Kdc;
use crate::kernel_client;
use crate::realm;
use crate::world::{CELLS, CONF_DIR, STATE_DIR, World};
use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Starts what the plan says, then the command. Argument: file of the plan.
pub(crate) fn manager(args: &[String]) -> Result<ExitCode> {
    let [plan_file] = args else { bail!("PLAN") };
    // Handled, not blocked or ignored: only that is not inherited by the command, for which they are meant.
    ctrlc::set_handler(|| ()).context("handler of signals")?;
    let plan = Plan::read(plan_file)?;
    let began = Instant::now();
    let mut world = World {
        results: plan.results.clone(),
        conf_dir: CONF_DIR.into(),
        cells: Vec::new(),
        realms: Vec::new(),
        programs: built::install(&plan.programs)?,
        sizes: plan.sizes,
        httpd: None,
        client: None,
    };
    let mut up = Up::default();
    if plan.contents != Contents::Empty {
        up.start_cells(&mut world)?;
        progress(&plan, &format!("cells are ready, {:.1} s", began.elapsed().as_secs_f32()));
    }
    if let Some(start) = &plan.client {
        start.start(&world)?;
        let client = start.client();
        world.client = Some(client);
        progress(&plan, &format!("{client} serves /afs, {:.1} s", began.elapsed().as_secs_f32()));
    }
    if let Contents::CellsAndHttpd(mpm) = plan.contents {
        let options = httpd::Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            ..httpd::Options::new(mpm)
        };
        let server = Httpd::start(&world, options)?;
        world.httpd = Some(server.address());
        up.httpd = Some(server);
        progress(&plan, &format!("httpd is ready, {:.1} s", began.elapsed().as_secs_f32()));
    }
    world.publish()?;
    let [program, rest @ ..] = plan.command.as_slice() else { bail!("no command") };
    let path = std::env::var("PATH").unwrap_or_default();
    let status = Command::new(program)
        .args(rest)
        .current_dir(&plan.cwd)
        .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"))
        .envs(world.client.map(|c| (kernel_client::VARIABLE, c.as_str())))
        .status()
        .with_context(|| format!("cannot run {}", program.to_string_lossy()))?;
    for cell in &mut up.cells {
        if let Err(e) = cell.must_run() {
            let _ = writeln!(io::stderr(), "world: {e:#}");
        }
    }
    for realm in world.realms.iter().filter(|r| Kdc::of(r).pid().is_none()) {
        let _ = writeln!(io::stderr(), "world: the KDC of {} does not run any more", realm.name);
    }
    if plan.client.is_some() {
        // A guest is switched off: nothing in it has to end in good order, which would take it long.
        #[allow(clippy::exit, reason = "ends without ending what was started")]
        std::process::exit(i32::from(code(status)));
    }
    Ok(ExitCode::from(code(status)))
}

/// A line of progress, on standard error and in the results.
fn progress(plan: &Plan, text: &str) {
    let _ = writeln!(io::stderr(), "world: {text}");
    let _ = File::options()
        .append(true)
        .create(true)
        .open(plan.results.join("progress.log"))
        .and_then(|mut f| writeln!(f, "{text}"));
}

/// What the manager started; httpd ends before the cells.
#[derive(Debug, Default)]
struct Up {
    httpd: Option<Httpd>,
    kaservers: Vec<TestKaserver>,
    cells: Vec<Cell>,
}

impl Up {
    /// Realms and both cells side by side, kaservers, content, replicas.
    fn start_cells(&mut self, world: &mut World) -> Result<()> {
        let logs = world.results.clone();
        let state = Path::new(STATE_DIR);
        let mut realms = realm::make_all(state, &logs)?;
        let (started, pids) = std::thread::scope(|s| {
            let kdcs = s.spawn(|| realm::start_all(&realms));
            let threads: Vec<_> =
                CELLS.iter().map(|spec| s.spawn(|| Cell::start(spec, &realms, state, &logs))).collect();
            let started: Vec<Result<Cell>> = threads
                .into_iter()
                .map(|t| {
                    t.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread that starts a cell panicked")))
                })
                .collect();
            let pids =
                kdcs.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread that starts KDCs panicked")));
            (started, pids)
        });
        for (realm, pid) in realms.iter_mut().zip(pids?) {
            realm.pid = pid;
        }
        world.realms = realms;
        for cell in started {
            self.cells.push(cell?);
        }
        world.cells = self.cells.iter().map(|c| c.description.clone()).collect();
        if let Some(program) = world.programs.kaserver.clone() {
            for cell in &mut world.cells {
                let server = TestKaserver::start(&program, cell, Path::new(STATE_DIR), &logs)?;
                cell.kaserver = Some(server.description().clone());
                self.kaservers.push(server);
            }
        }
        // libuafs starts threads and never gives back what it took: it runs in a process of its own.
        crate::fill::fill_in_process(world)?;
        for (cell, spec) in self.cells.iter().zip(&CELLS) {
            cell.release(spec)?;
        }
        Ok(())
    }
}
