//! Which moves of a target are told, and when: those that somebody else has made, and that the maximum stands in the way. It
//! notes what is seen and writes nothing.
//!
//! The first move after a quiet minute is told at once; those that follow within a minute are told together when it is over. So a
//! target that the HPA moves with each of its syncs costs one event a minute, and one that stands costs none. What a replica of
//! the operator sees first is where it begins, not a move.

use std::time::Duration;

use tokio::time::Instant;

use crate::seen::SeenTarget;

/// How long moves are gathered after one was told, and for how long the demand must have been within the maximum before it can be
/// news again that it is not.
pub(super) const GATHER: Duration = Duration::from_secs(60);

/// What is known of an object's moves.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// The uid of the target, and its replicas as they were last seen, or written by ourselves.
    known: Option<(String, u32)>,
    untold: Option<Move>,
    told_at: Option<Instant>,
    ceiling: Ceiling,
}

/// One move of a target, or some in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    /// Replicas before.
    pub from: u32,
    /// Replicas after.
    pub to: u32,
    /// How many moves it was.
    pub count: u32,
    /// Whether the last of them added replicas.
    pub out: bool,
}

/// What is to be done about moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// Nothing.
    Nothing,
    /// Look again by then.
    In(Duration),
    /// Tell of this.
    Of(Move),
}

/// Whether more is wanted than the maximum allows.
#[derive(Debug, Default)]
enum Ceiling {
    #[default]
    Unknown,
    Within,
    Beyond {
        /// Since when it is within again, too short to be so.
        within: Option<Instant>,
    },
}

impl Moves {
    /// The replicas were written by ourselves, which is told of by itself.
    pub fn wrote(&mut self, uid: &str, to: u32) {
        self.known = Some((uid.to_owned(), to));
        self.untold = None;
    }

    /// The target as it is.
    pub fn see(&mut self, target: &SeenTarget) -> Telling {
        let Some((_, before)) = self.known.as_mut().filter(|(uid, _)| *uid == target.uid) else {
            self.known = Some((target.uid.clone(), target.replicas));
            self.untold = None;
            return Telling::Nothing;
        };
        let (from, to) = (std::mem::replace(before, target.replicas), target.replicas);
        if from != to {
            let gathered = self.untold.get_or_insert(Move { from, to, count: 0, out: false });
            *gathered = Move { to, count: gathered.count + 1, out: to > from, ..*gathered };
        }
        let Some(gathered) = self.untold else { return Telling::Nothing };
        let left = self.told_at.and_then(|at| GATHER.checked_sub(at.elapsed())).filter(|left| !left.is_zero());
        if let Some(left) = left {
            return Telling::In(left);
        }
        self.told_at = Some(Instant::now());
        self.untold = None;
        Telling::Of(gathered)
    }

    /// So many replicas are wanted; whether it is news that this is more than the maximum. `is_old` says that it would not be
    /// news to anybody, were it seen for the first time.
    pub fn wants(&mut self, wanted: u32, max: u32, is_old: bool) -> bool {
        let is_beyond = wanted > max;
        match &mut self.ceiling {
            Ceiling::Beyond { within } if is_beyond => *within = None,
            Ceiling::Beyond { within } => {
                if within.get_or_insert_with(Instant::now).elapsed() >= GATHER {
                    self.ceiling = Ceiling::Within;
                }
            }
            before => {
                let is_news = is_beyond && !(is_old && matches!(before, Ceiling::Unknown));
                *before = if is_beyond { Ceiling::Beyond { within: None } } else { Ceiling::Within };
                return is_news;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn target(replicas: u32) -> SeenTarget {
        let uid = "uid-2".to_owned();
        SeenTarget { uid, version: 1, replicas, ready: 0, containers: None, scaled_by: None }
    }

    fn told(from: u32, to: u32, count: u32, out: bool) -> Telling {
        Telling::Of(Move { from, to, count, out })
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_move_is_told_at_once_and_those_after_it_together() {
        let mut moves = Moves::default();
        assert_eq!(moves.see(&target(2)), Telling::Nothing, "what was there before");
        assert_eq!(moves.see(&target(5)), told(2, 5, 1, true));
        assert_eq!(moves.see(&target(5)), Telling::Nothing);
        for (replicas, left) in [(7, 45), (4, 30), (9, 15)] {
            advance(Duration::from_secs(15)).await;
            assert_eq!(moves.see(&target(replicas)), Telling::In(Duration::from_secs(left)));
        }
        advance(Duration::from_secs(15)).await;
        assert_eq!(moves.see(&target(9)), told(5, 9, 3, true));
        advance(Duration::from_secs(300)).await;
        assert_eq!(moves.see(&target(9)), Telling::Nothing, "it stands");
        assert_eq!(moves.see(&target(8)), told(9, 8, 1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_moves_each_15_s_is_told_of_once_a_minute() {
        let mut moves = Moves::default();
        let mut events = 0;
        for second in 0..600 {
            let replicas = 1 + (second / 15) % 7;
            events += u32::from(matches!(moves.see(&target(replicas)), Telling::Of(_)));
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(events, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_we_write_ourselves_and_a_new_target_are_no_moves() {
        let mut moves = Moves::default();
        moves.see(&target(1));
        moves.see(&target(2));
        moves.see(&target(3));
        moves.wrote("uid-2", 0);
        advance(GATHER).await;
        assert_eq!(moves.see(&target(0)), Telling::Nothing, "what was told of it says where it came from");
        let other = SeenTarget { uid: "uid-3".to_owned(), ..target(7) };
        assert_eq!(moves.see(&other), Telling::Nothing);
    }

    #[tokio::test(start_paused = true)]
    async fn the_maximum_is_told_once_until_the_demand_has_been_within_it() {
        let mut moves = Moves::default();
        assert!(!moves.wants(10, 10, false));
        assert!(moves.wants(11, 10, false), "for the first time");
        for _ in 0..600 {
            // A demand that goes to and fro.
            assert!(!moves.wants(9, 10, false));
            advance(Duration::from_millis(500)).await;
            assert!(!moves.wants(12, 10, false));
        }
        assert!(!moves.wants(9, 10, false));
        advance(GATHER).await;
        assert!(!moves.wants(9, 10, false));
        assert!(moves.wants(11, 10, false), "again");

        assert!(!Moves::default().wants(11, 10, true), "another replica of the operator has told of it");
        assert!(Moves::default().wants(11, 10, false));
    }
}
