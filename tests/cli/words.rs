//! What may be said to an object, and when it would have no effect.

use lossless_upgrade::cli::steer::{Word, pointless};

use super::fixtures::all;

#[test]
fn a_word_without_effect_is_refused_with_what_to_do_instead() {
    let of = |name: &str| all().into_iter().find(|moment| moment.name == name).unwrap().object;
    for (name, word, refused) in [
        ("Idle", Word::Abort, true),
        ("Idle", Word::Rollback, true),
        ("Idle", Word::Retry, true),
        ("Succeeded", Word::Rollback, true),
        ("Drain", Word::Abort, false),
        ("Drain", Word::Rollback, false),
        ("Drain", Word::Retry, true),
        ("Drain, halted", Word::Retry, false),
        ("Drain, paused", Word::Abort, false),
        ("RollingBack", Word::Rollback, true),
        ("RollingBack", Word::Abort, false),
        ("Aborting", Word::Abort, true),
        ("RolledBack", Word::Retry, false),
        ("Aborted", Word::Retry, false),
        ("Blocked", Word::Retry, false),
    ] {
        let why = pointless(&of(name), word);
        assert_eq!(why.is_some(), refused, "{name}, {word:?}: {why:?}");
    }
}
