//! Six deliberate bugs, so that the disaster tests can show that they would notice them. They exist only with the feature
//! `mutants`, which the tests alone switch on; without it every question is answered no, by the compiler.

/// A deliberate bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A reading that failed counts as a reading of 0.
    ZeroOnError,
    /// An object goes to rest without waiting for its cooldown.
    NoCooldown,
    /// A replica that was leader once goes on writing whatever becomes of the Lease.
    NoFencing,
    /// The status is written at every look.
    StatusEachPoll,
    /// A new leader deletes the HPAs it finds.
    HpaDeletedOnRestart,
    /// What the watch said last is believed over what was written since, and replicas are written without a precondition.
    StaleCacheTrusted,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ZeroOnError,
        Self::NoCooldown,
        Self::NoFencing,
        Self::StatusEachPoll,
        Self::HpaDeletedOnRestart,
        Self::StaleCacheTrusted,
    ];
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Gives every operator of this thread the bug, or takes it away again. A simulated run has one thread.
    pub fn infect(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
    }

    pub(crate) fn is(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }
}

#[cfg(not(feature = "mutants"))]
mod switch {
    use super::Mutant;

    pub(crate) const fn is(_: Mutant) -> bool {
        false
    }
}

#[cfg(feature = "mutants")]
pub use switch::infect;
pub(crate) use switch::is;
