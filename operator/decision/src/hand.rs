//! What a person has asked for by hand, beside the spec. Plain values; where they are written is somebody else's.

/// The wishes of a person for one object. `Hand::default()`: none.
///
/// KEDA, "Pausing autoscaling" (concepts, "Scaling deployments"), says what each of them does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hand {
    /// Scaling is paused altogether.
    pub pause: Option<Pause>,
    /// Nothing may take replicas away.
    pub scale_in_paused: bool,
    /// Nothing may add replicas.
    pub scale_out_paused: bool,
    /// The object counts as active, whatever its triggers say.
    pub forces_activation: bool,
}

/// How scaling is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// The replicas stay as they are, and others may move them.
    AsItIs,
    /// The target is brought to this many, and kept there.
    At(u32),
}
