//! The kernel clients against a real cell, in a guest whose root runs this.
//!
//! AFSWEB_CLIENT says which client serves `/afs`: `openafs` or `kafs`. Reads the description of the world,
//! `/run/afsweb-world.json` or what AFSWEB_WORLD names, and takes of its first cell `name`, `key_hex` and `kvno`; users admin,
//! alice, bob and carol, group `alice:friends` with bob and carol. Needs `fs` (OpenAFS) or `mount` and `umount` (kAFS).
//! Each test runs scenes in processes of their own, since a process has its PAGs once and gives its uid up once.

#![allow(unsafe_code, reason = "keyctl(2) as an attacker would call it, which no library has")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test, also outside its test functions")]
#![expect(clippy::panic, reason = "a test, also outside its test functions")]
#![expect(clippy::print_stdout, reason = "measured times, and answers to the scene that asked")]

#[path = "../outside/mod.rs"]
mod outside;

mod attacks;
mod beginnings;
mod costs;
mod limits;
mod places;
mod processes;
mod stage;
mod tokens;
mod visitors;
mod writing;

use processes::{DIR, SCENE, command, dir, play};

#[test]
#[ignore = "needs a guest: run by cargo xtask vm test"]
fn d10_a_process_without_its_anonymous_pag_ends_itself() {
    let status = command("loses_the_anonymous_pag").env(DIR, dir()).status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGABRT), "{status}");
}

macro_rules! scenes {
    ($($subject:ident { $($name:ident;)* })*) => {
        $($(
            #[test]
            #[ignore = "needs a guest: run by cargo xtask vm test"]
            fn $name() {
                play(stringify!($name));
            }
        )*)*

        /// Not a test: what the others run in processes of their own.
        #[test]
        #[ignore = "needs a guest: run by cargo xtask vm test"]
        fn scene() {
            match std::env::var(SCENE).as_deref() {
                $($(Ok(stringify!($name)) => $subject::$name(),)*)*
                Ok("content") => places::content(),
                Ok("reader") => places::reader(),
                Ok("attacker") => attacks::attacker(),
                Ok("token_of_the_uid") => beginnings::token_of_the_uid(),
                Ok("loses_the_anonymous_pag") => attacks::loses_the_anonymous_pag(),
                Ok("child_of_an_administrator") => beginnings::child_of_an_administrator(),
                Ok(other) => panic!("no scene {other}"),
                Err(_) => {}
            }
        }
    };
}

scenes! {
    visitors {
        each_visitor_reads_what_the_acls_give_him;
        threads_hop_between_visitors;
        a_process_keeps_its_visitor_while_the_thread_hops_on;
        four_hundred_threads;
        questions_about_paths;
    }
    attacks {
        what_runs_inside_gets_at_no_other_visitor;
        what_runs_beside_gets_at_no_visitor;
        a_destroyed_pag_is_noticed;
    }
    beginnings {
        a_token_of_the_uid_is_not_the_anonymous_visitors;
        nothing_is_inherited_from_an_administrator;
    }
    tokens {
        an_expired_token_is_none;
        a_pag_whose_token_ended_long_ago_is_given_to_nobody_else;
        a_token_is_renewed_while_threads_are_inside;
        tokens_come_back_as_they_were_set;
    }
    limits {
        two_hundred_pags;
        a_pool_comes_to_its_end_and_gives_out_clean_ones_again;
        a_pag_whose_token_cannot_be_dropped_ends_with_its_keyring;
        the_quota_of_keys_is_an_error_of_its_own;
    }
    writing {
        what_is_written_is_stored_when_it_is_closed;
    }
    costs {
        what_hopping_costs;
    }
}
