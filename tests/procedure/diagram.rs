//! The picture of the procedure in the documents is drawn from the table that the procedure is held to.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lossless_upgrade::workflow::state::{Rest, Step};
use lossless_upgrade::workflow::transitions::TABLE;

use crate::sim::plans::one_by_one;
use crate::sim::world::World;

/// What follows what when nothing goes wrong.
fn undisturbed() -> BTreeSet<(Step, Step)> {
    let mut world = World::new(3, one_by_one());
    world.set_image("v2");
    assert!(world.run_until(600, |world| world.state.rest == Rest::Succeeded), "{}", world.tale());
    world.counts.trail.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

/// The usual way as a picture, all others as a table: as arrows they hide it.
fn drawn() -> String {
    let usual = undisturbed();
    let mut picture =
        vec!["```mermaid".to_owned(), "flowchart LR".to_owned(), "  Idle --> Preflight".to_owned()];
    let mut table = vec!["| from | may also go to |".to_owned(), "|---|---|".to_owned()];
    for (from, all) in TABLE {
        let (taken, other): (Vec<Step>, Vec<Step>) =
            all.iter().partition(|to| usual.contains(&(*from, **to)));
        picture.extend(taken.iter().map(|to| format!("  {from:?} --> {to:?}")));
        let other: Vec<String> = other.iter().map(|to| format!("{to:?}")).collect();
        table.push(format!("| {from:?} | {} |", other.join(", ")));
    }
    picture.extend(["  Restore --> Succeeded".to_owned(), "```".to_owned()]);
    format!("{}\n\n{}", picture.join("\n"), table.join("\n"))
}

#[test]
fn the_picture_in_the_documents_is_the_table_of_what_may_follow_what() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/how-it-works.md");
    let text = fs::read_to_string(document).unwrap();
    // The words between picture and table are the document's own.
    let drawn = drawn();
    let missing: Vec<&str> = drawn.split("\n\n").filter(|part| !text.contains(part)).collect();
    assert!(missing.is_empty(), "docs/how-it-works.md has not:\n{}", missing.join("\n\n"));
}
