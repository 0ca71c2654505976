//! The namespace controller: empties a namespace that is being deleted and waits for a finalizer of its own. Never takes
//! that finalizer away: whoever put it there does. (A namespace without finalizers is emptied by the API server as it goes.)

use std::time::Duration;

use super::world::{Timer, Work, World};

/// How long until it looks again at what is left.
const AGAIN: Duration = Duration::from_secs(5);

impl World {
    pub(super) fn sync_namespace(&mut self, name: &str) {
        if self.store.empty_namespace(name) > 0 {
            // Something in it has a finalizer of its own.
            self.after(AGAIN, Timer::Look(Work::Namespace(name.to_owned())));
        }
    }
}
