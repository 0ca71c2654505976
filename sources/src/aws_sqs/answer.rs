//! Counts of a queue as SQS gives them, and the outcome of a query. A count that is missing or no number is never taken for 0.

use windlass_decision::{Activity, Clock, Outcome, Sample};

use super::config::{Connection, Query};
use super::problem::{NoFigure, Problem};

pub(super) const VISIBLE: &str = "ApproximateNumberOfMessages";
pub(super) const IN_FLIGHT: &str = "ApproximateNumberOfMessagesNotVisible";
pub(super) const DELAYED: &str = "ApproximateNumberOfMessagesDelayed";

/// What SQS says of a queue; `None` where it says nothing that is a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    visible: Option<u64>,
    in_flight: Option<u64>,
    delayed: Option<u64>,
}

impl Counts {
    pub(super) fn read<'a>(attribute: impl Fn(&'static str) -> Option<&'a str>) -> Self {
        let count = |name| attribute(name).and_then(|value| value.parse().ok());
        Self { visible: count(VISIBLE), in_flight: count(IN_FLIGHT), delayed: count(DELAYED) }
    }

    /// visible + (in flight, if wanted) + (delayed, if wanted): aws-sqs-queue of KEDA.
    pub(super) fn outcome(self, query: &Query, connection: &Connection, clock: &dyn Clock) -> Outcome {
        let wanted = [
            (VISIBLE, self.visible, true),
            (IN_FLIGHT, self.in_flight, query.in_flight),
            (DELAYED, self.delayed, query.delayed),
        ];
        let mut sum = 0_u64;
        for (name, count, wanted) in wanted {
            if !wanted {
                continue;
            }
            let Some(count) = count else {
                let problem = Problem::bad_answer(connection, &format!("{name} of the queue is missing or no count"));
                return NoFigure::Failed(problem).outcome(clock);
            };
            sum = sum.saturating_add(count);
        }
        #[expect(clippy::cast_precision_loss, reason = "a sum that large is refused by the check that follows")]
        let value = sum as f64;
        match (Sample { value, activity: Activity::Number(value), limit: None, at: clock.now() }).checked() {
            Ok(sample) => Outcome::Ok(sample),
            Err(why) => NoFigure::Failed(Problem::bad_answer(connection, &why)).outcome(clock),
        }
    }
}
