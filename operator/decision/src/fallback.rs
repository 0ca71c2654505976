//! What a scaled object asks for while a source cannot be read. Plain values and one formula; when it is in force is said by
//! the rule of the same name.

/// What to do while a source cannot be read (KEDA, "ScaledObject specification", `fallback`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// In force for a trigger that has failed more often than this, one time after the other.
    pub failure_threshold: u32,
    /// The replicas of the fallback.
    pub replicas: u32,
    /// What the replicas that are there have to do with it.
    pub behavior: FallbackBehavior,
}

/// `spec.fallback.behavior`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FallbackBehavior {
    /// The replicas of the fallback.
    #[default]
    Static,
    /// The replicas that are there.
    CurrentReplicas,
    /// The replicas that are there, if they are more than those of the fallback.
    CurrentReplicasIfHigher,
    /// The replicas that are there, if they are fewer than those of the fallback.
    CurrentReplicasIfLower,
}

impl Fallback {
    /// What a trigger in fallback asks for, where `current` replicas are there.
    #[must_use]
    pub fn asks_for(self, current: u32) -> u32 {
        match self.behavior {
            FallbackBehavior::Static => self.replicas,
            FallbackBehavior::CurrentReplicas => current,
            FallbackBehavior::CurrentReplicasIfHigher => current.max(self.replicas),
            FallbackBehavior::CurrentReplicasIfLower => current.min(self.replicas),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fallback, FallbackBehavior::*};

    #[test]
    fn the_four_behaviours() {
        let asks = |behavior, current| Fallback { failure_threshold: 3, replicas: 5, behavior }.asks_for(current);
        for (behavior, at_2, at_9) in
            [(Static, 5, 5), (CurrentReplicas, 2, 9), (CurrentReplicasIfHigher, 5, 9), (CurrentReplicasIfLower, 2, 5)]
        {
            assert_eq!((asks(behavior, 2), asks(behavior, 9)), (at_2, at_9), "{behavior:?}");
        }
    }
}
