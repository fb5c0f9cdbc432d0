//! A counterexample as a story.

use std::fmt::Write;

use stateright::Path;

use super::Upgrade;
use super::actions::Action;
use super::world::{Pod, World};

/// What happened on the way, and what the operator made of it.
pub fn story(model: &Upgrade, path: Path<World, Action>) -> String {
    let mut text = String::new();
    let mut last = None;
    for (world, action) in path.into_vec() {
        let _ = writeln!(text, "    {}", model.sight(&world));
        last = Some(world);
        let Some(action) = action else { break };
        let said = if action == Action::Look { model.explain(&world) } else { String::new() };
        let _ = writeln!(text, "{action:?} {said}");
    }
    let Some(mut world) = last else { return text };
    text.push_str("and, if nothing more goes wrong:\n");
    while let Some((action, next)) =
        model.calmly(&world).and_then(|one| Some((one, model.after(&world, one)?)))
    {
        let said = if action == Action::Look { model.explain(&world) } else { String::new() };
        let _ = writeln!(text, "{action:?} {said}\n    {}", model.sight(&next));
        world = next;
        if text.len() > 50_000 {
            break;
        }
    }
    let _ = writeln!(text, "{:?} {:?}", model.fate(&world), world.broken);
    text
}

impl Upgrade {
    /// The world in one line.
    fn sight(&self, world: &World) -> String {
        let state = self.records.get(world.record);
        let run = state.run.as_ref().map(|run| {
            let (goal, step, batch, surge) = (run.goal, run.step, &run.batch, run.surge);
            format!("{goal:?} to {} {step:?} {:?} `{}` surge {surge}", run.to, batch.kind, batch.ordinals)
        });
        let pod = |pod: &Pod| {
            let mut words = format!("{} {:?}", pod.image.name(), pod.life);
            words.push_str(if pod.terminating { " going" } else { "" });
            words.push_str(if pod.owing { " owing" } else { "" });
            words
        };
        let pods: Vec<String> =
            world.pods.iter().map(|slot| slot.as_ref().map_or_else(|| "-".into(), pod)).collect();
        let behind = if world.set.current { "" } else { ", not noticed" };
        format!(
            "{} | {} | {} replicas of {}{behind} | lever {:b}, in force {:b} | late {:?}",
            run.unwrap_or_else(|| format!("{:?}", state.phase())),
            pods.join(", "),
            world.set.replicas,
            world.set.image.name(),
            world.lever.value.0,
            world.lever.in_force.0,
            world.late,
        )
    }
}
