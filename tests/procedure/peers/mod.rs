//! Bugs that users of other rollout controllers met, each told as a story of ours: what must not
//! happen here. `docs/safety.md` has the list, with those that cannot happen and why.

mod deletes;
mod drains;
mod replicas;
mod returns;
mod waits;
