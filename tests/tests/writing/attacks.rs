//! Who may change a directory leads nobody else's DELETE, COPY or MOVE elsewhere by links in it.

use crate::common::{first, get_as, world};
use crate::{names, own, put, start, status, transfer};
use integration::seen::{self, Swap};
use integration::world::FIRST_CELL;

/// Files in a directory; so many that it can be swapped while it is removed.
const MANY: usize = 400;

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_directory_that_is_swapped_for_a_link_leads_delete_and_copy_nowhere() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "swapped");
    let at = |name: &str| format!("{dir}/{name}");
    for name in ["shared", "copies"] {
        assert_eq!(status(&world, &httpd, "alice", "MKCOL", &first(&at(name))), 201);
    }
    for name in ["mine", "shared/x", "shared/y"] {
        seen::make_many(FIRST_CELL, &at(name), MANY).unwrap();
    }
    let secret = format!("mine/{:05}.txt", MANY - 1);
    assert_eq!(put(&world, &httpd, "alice", &first(&at(&secret)), b"secret").status, 204);
    let swap = |watched, path: &str, f: &dyn Fn() -> u16| {
        let moved = at(&format!("moved-{}", path.replace('/', "-")));
        let (watched, path) = (at(watched), at(path));
        Swap { watched: &watched, path: &path, moved: &moved, target: "../mine" }
            .during(FIRST_CELL, f)
            .unwrap()
    };
    let copied = swap("copies", "shared/x", &|| {
        transfer(&world, &httpd, "alice", "COPY", &first(&at("shared/x")), &first(&at("copies/of-x")))
    });
    let r = get_as(&world, &httpd, &first(&at(&secret.replace("mine", "copies/of-x"))), "alice");
    assert_ne!(r.text(), "secret", "{copied}");
    let deleted =
        swap("shared/y", "shared/y", &|| status(&world, &httpd, "alice", "DELETE", &first(&at("shared"))));
    assert_eq!(names(&at("mine")).len(), MANY, "{deleted}");
    assert_eq!(get_as(&world, &httpd, &first(&at(&secret)), "alice").text(), "secret");
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first(&dir)), 204);
    httpd.stop(&[]).unwrap();
}

#[test]
#[ignore = "needs a world: run by cargo xtask test"]
fn a_collection_under_two_paths_is_not_put_in_the_place_of_itself() {
    let world = world();
    let httpd = start(&world, "");
    let dir = own(&world, &httpd, "alias");
    let at = |name: &str| first(&format!("{dir}/{name}"));
    for name in ["d", "d/dir"] {
        assert_eq!(status(&world, &httpd, "alice", "MKCOL", &at(name)), 201);
    }
    assert_eq!(put(&world, &httpd, "alice", &at("d/dir/file"), b"still here").status, 201);
    seen::link(FIRST_CELL, &format!("{dir}/l"), "d").unwrap();
    for (from, to) in
        [("l/dir", "d/dir"), ("d/dir", "l/dir"), ("l/dir/file", "d/dir"), ("l/dir", "d"), ("d", "l/dir/new")]
    {
        for method in ["COPY", "MOVE"] {
            assert_eq!(
                transfer(&world, &httpd, "alice", method, &at(from), &at(to)),
                403,
                "{method} {from} {to}"
            );
            assert_eq!(
                get_as(&world, &httpd, &at("d/dir/file"), "alice").text(),
                "still here",
                "{method} {from} {to}"
            );
        }
    }
    assert_eq!(names(&format!("{dir}/d")), ["dir"]);
    assert_eq!(names(&format!("{dir}/d/dir")), ["file"]);
    assert_eq!(status(&world, &httpd, "alice", "DELETE", &first(&dir)), 204);
    httpd.stop(&[]).unwrap();
}
