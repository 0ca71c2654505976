//! What is done for an object that is being deleted and waits for us: its target gets its original replicas back, if the
//! object asks for it, and then the object is let go. Deletion never waits for a source.

use std::time::Duration;

use windlass_crd::{Target, target};

use crate::engine::Engine;
use crate::engine::memory::Memory;
use crate::key::ObjectKey;
use crate::plan::{Effect, Note, Scale, deletions, without_finalizer};
use crate::seen::SeenObject;
use crate::world::Looked;

/// When to look again for a target that has not been heard of.
const AGAIN: Duration = Duration::from_millis(500);
/// How often the kind of the target is looked for before the object goes without it.
const PATIENCE: u32 = 10;

impl Engine {
    /// The next steps on the way of an object that goes; none while one of them is being made.
    pub(super) fn farewell(&self, key: &ObjectKey, object: &SeenObject, memory: &mut Memory) -> Vec<Effect> {
        self.unsubscribe(key);
        if memory.busy {
            memory.again = true;
            return Vec::new();
        }
        if memory.is_waiting() || !memory.may_mark() {
            return Vec::new();
        }
        // By the spec itself: the object goes whether or not what it refers to is still there.
        let restored = match &object.spec {
            Ok(spec) if spec.restores() => self.restored(key, object, &target(spec), memory),
            _ => Some(Vec::new()),
        };
        let Some(mut effects) = restored else {
            memory.recheck = Some(AGAIN);
            return Vec::new();
        };
        let restores = effects.iter().any(|effect| matches!(effect, Effect::Scale(_)));
        effects.push(without_finalizer(key.group, object));
        // What brings the replicas back has an event of the same reason.
        if !std::mem::replace(&mut memory.told_goodbye, true) && !restores {
            let message = "The object is deleted; nothing scales its target any more".to_owned();
            effects.push(Effect::Tell(Note { warning: true, reason: "ScaledObjectDeleted", message }));
        }
        effects
    }

    /// What gives the target its original replicas back; `None` while the target is not known yet.
    fn restored(
        &self,
        key: &ObjectKey,
        object: &SeenObject,
        target: &Target,
        memory: &mut Memory,
    ) -> Option<Vec<Effect>> {
        let original = object.status.original_replica_count.and_then(|count| u32::try_from(count).ok());
        let Some(original) = original.filter(|_| self.owner(key, object, target).is_none()) else {
            return Some(Vec::new());
        };
        let (seen, resource) = match self.world.peek(&key.namespace, target) {
            Looked::Found(seen, resource) => (memory.newest_target(&seen), resource),
            Looked::NotYet => return None,
            Looked::UnknownKind(_) if memory.lost_kinds < PATIENCE => {
                memory.lost_kinds += 1;
                return None;
            }
            Looked::Missing | Looked::UnknownKind(_) => return Some(Vec::new()),
        };
        // The HPA first, so that it does not move what is brought back.
        let mut effects: Vec<_> = deletions(&self.world.hpas_of(key, &object.uid)).collect();
        if seen.replicas != original {
            effects.push(Effect::Scale(Box::new(Scale {
                resource,
                target: target.clone(),
                seen,
                to: original,
                verdict: None,
                why: "the object is deleted and restores the replicas that were there before it".to_owned(),
            })));
        }
        Some(effects)
    }
}
