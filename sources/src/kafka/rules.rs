//! How offsets are to become a figure. The formula itself is in `lag`.

/// Where a group begins that has committed nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reset {
    /// At the end: what is there already is not its work.
    #[default]
    Latest,
    /// At the beginning: everything is.
    Earliest,
}

/// The most replicas that a lag can ask for. Where it holds a threshold: messages of lag that one replica is for, above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cap {
    /// Any number: replicas without a partition are allowed.
    None,
    /// One for each partition.
    Partitions(u64),
    /// One for each partition that has lag.
    PartitionsWithLag(u64),
    /// One for each partition, and always as many as divide the partitions evenly.
    Even(u64),
}

/// How offsets become a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rules {
    /// What a partition without a commit means.
    pub reset: Reset,
    /// Whether a partition without a commit counts as 0 whatever `reset` says.
    pub zero_without_commit: bool,
    /// Whether a partition whose commit does not move is no reason for more replicas.
    pub exclude_persistent: bool,
    /// The most replicas.
    pub cap: Cap,
}
