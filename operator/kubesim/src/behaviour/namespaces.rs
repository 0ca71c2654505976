//! The namespace controller: empties a namespace that is being deleted and lets it go. Never deletes a namespace that
//! nobody asked to delete.

use super::world::{Timer, Work, World};

impl World {
    pub(super) fn sync_namespace(&mut self, name: &str) {
        let work = Work::Namespace(name.to_owned());
        let left = self.store.empty_namespace(name);
        if left > 0 {
            // Something in it has a finalizer of its own.
            self.after(std::time::Duration::from_secs(5), Timer::Look(work));
            return;
        }
        if let Err(refused) = self.store.finalize_namespace(name)
            && refused.code != 404
        {
            tracing::debug!(namespace = name, code = refused.code, error = %refused.message, "a namespace stays");
            self.after(std::time::Duration::from_secs(5), Timer::Look(work));
        }
    }
}
