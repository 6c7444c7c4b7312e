//! What entering PAGs costs.

use crate::limits::raise_quota;
use crate::stage::Stage;
use pag::Pag;
use std::io::{Read as _, Write as _};
use std::time::Instant;

/// Rounds of the table, each row once in each, so that all of them see the same machine.
const ROUNDS: usize = 15;
/// PAGs that a child makes, for a row of the table.
const MADE: u32 = 64;

/// Prints what things cost, as multiples of an open, read and close by a thread that stays in its PAG.
pub(super) fn what_hopping_costs() {
    raise_quota();
    let made = Instant::now();
    let stage = &Stage::open(usize::try_from(MADE).unwrap());
    let making = made.elapsed().as_secs_f64() / f64::from(MADE);
    let (alice, bob) = (&stage.pag("alice"), &stage.pag("bob"));
    let tokens = [stage.token("alice"), stage.token("bob")];
    let swapped = &stage.afs().new_pag().unwrap();
    let own = [stage.path("alice"), stage.path("bob")];
    let public = stage.path("public");
    let read = |path: &str| {
        let mut buf = [0; 64];
        let file = std::fs::File::open(path).unwrap();
        assert!((&file).read(&mut buf).unwrap() > 0);
    };
    let as_visitor = |pag: &Pag, path: &str| {
        let scope = pag.enter().unwrap();
        stage.afs().verify(pag).unwrap();
        read(path);
        drop(scope);
    };
    let rows: Vec<Step<'_>> = vec![
        ("enters and leaves", 200, Box::new(|i| drop([alice, bob][i % 2].enter().unwrap()))),
        ("is asked where it is", 200, Box::new(|_| stage.afs().verify(stage.afs().anonymous()).unwrap())),
        ("same visitor: enter, ask, open, read, close, leave", 200, Box::new(|_| as_visitor(alice, &public))),
        (
            "switch of visitor: enter, ask, open, read, close, leave",
            200,
            Box::new(|i| as_visitor([alice, bob][i % 2], &public)),
        ),
        (
            "switch of visitor, each to his own file",
            200,
            Box::new(|i| as_visitor([alice, bob][i % 2], &own[i % 2])),
        ),
        (
            "for comparison, by swapping the token of one PAG",
            4,
            Box::new(|i| {
                swapped.set_token(&tokens[i % 2]).unwrap();
                as_visitor(swapped, &own[i % 2]);
            }),
        ),
        (
            "first access after a login: take a PAG, set the token, open, read, close",
            4,
            Box::new(|i| {
                let pag = stage.afs().new_pag().unwrap();
                pag.set_token(&tokens[i % 2]).unwrap();
                as_visitor(&pag, &own[i % 2]);
            }),
        ),
    ];
    let table = measure(rows, &mut || {
        let scope = alice.enter().unwrap();
        let per = time(200, &mut |_| read(&public));
        drop(scope);
        per
    });
    let base = table.base;
    println!(
        "cost as multiples of open, read, close of a cached file in the thread's own PAG ({:.1} us):",
        base * 1e6
    );
    for (what, ratio) in &table.rows {
        println!("  {ratio:8.2}  {what}");
    }
    println!("  {:8.2}  a child makes a PAG at its start ({MADE} of them)", making / base);
    // PAGs of a parent, used by its child: what each child would save, and what it would have in reach.
    let status = in_a_child(|| {
        let rows: Vec<Step<'_>> = vec![("", 200, Box::new(|i| as_visitor([alice, bob][i % 2], &public)))];
        let table = measure(rows, &mut || {
            let scope = alice.enter().unwrap();
            let per = time(200, &mut |_| read(&public));
            drop(scope);
            per
        });
        println!("  {:8.2}  switch of visitor, with PAGs that the parent process has made", table.rows[0].1);
    });
    assert_eq!(status, 0);
    let switch = table.rows[3].1;
    let verdict = if switch <= 2.0 { "met" } else { "MISSED" };
    println!("  goal: a switch of visitor <= 2 x staying: {switch:.2}, {verdict}");
}

/// What a row measures, how often in a round, and how.
type Step<'a> = (&'static str, usize, Box<dyn FnMut(usize) + 'a>);

struct Costs {
    /// Seconds of what all is compared with.
    base: f64,
    /// What, and how often that.
    rows: Vec<(String, f64)>,
}

/// Seconds for one `f`.
fn time(n: usize, f: &mut dyn FnMut(usize)) -> f64 {
    let start = Instant::now();
    (0..n).for_each(f);
    start.elapsed().as_secs_f64() / f64::from(u32::try_from(n).unwrap())
}

/// Medians over the rounds, of each row's ratio to what came just before it.
fn measure(mut rows: Vec<Step<'_>>, base: &mut dyn FnMut() -> f64) -> Costs {
    let mut ratios: Vec<Vec<f64>> = rows.iter().map(|_| Vec::new()).collect();
    let mut bases = Vec::new();
    for _ in 0..ROUNDS {
        for ((_, n, f), ratios) in rows.iter_mut().zip(&mut ratios) {
            let plain = base();
            bases.push(plain);
            ratios.push(time(*n, f) / plain);
        }
    }
    let median = |v: &mut Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    let rows = rows.iter().zip(&mut ratios).map(|((what, ..), r)| ((*what).to_owned(), median(r))).collect();
    Costs { base: median(&mut bases), rows }
}

/// Runs `f` in a child of this process, as httpd makes its children; gives its exit code.
fn in_a_child(f: impl FnOnce()) -> i32 {
    std::io::stdout().flush().unwrap();
    // SAFETY: the child has this thread only; it uses nothing that another thread could have locked, and ends by _exit.
    match unsafe { libc::fork() } {
        0 => {
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_ok();
            let _ = std::io::stdout().flush();
            // SAFETY: ends this process.
            unsafe { libc::_exit(i32::from(!fine)) }
        }
        pid => {
            let pid = nix::unistd::Pid::from_raw(pid);
            match nix::sys::wait::waitpid(pid, None).unwrap() {
                nix::sys::wait::WaitStatus::Exited(_, code) => code,
                other => panic!("{other:?}"),
            }
        }
    }
}
