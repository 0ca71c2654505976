//! The curve of arrivals: how much has arrived until when. It answers for the past what has arrived by then and when a
//! certain one arrived, as far back as somebody still asks; never knows what became of it.

use std::collections::VecDeque;

/// Arrivals from one moment on.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// Seconds.
    from: f64,
    /// How much has arrived at `from`, with what arrives just then.
    sum: f64,
    /// How much arrives per second from then on.
    rate: f64,
}

/// How much has arrived until when.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    segments: VecDeque<Segment>,
    /// How many segments are forgotten.
    forgotten: usize,
}

/// A place on the curve that only moves forward.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    index: usize,
}

/// The curve as it was some time ago.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    /// How much had arrived.
    pub(crate) sum: f64,
    /// At which rate it came.
    pub(crate) rate: f64,
    /// How much of it has come at single moments since the cursor was moved last.
    pub(crate) jumped: f64,
    /// When this rate ends or something comes at once, in seconds of the present; infinite if nothing is known.
    pub(crate) until: f64,
}

impl Curve {
    pub(crate) fn new() -> Self {
        Self { segments: VecDeque::from([Segment { from: 0.0, sum: 0.0, rate: 0.0 }]), forgotten: 0 }
    }

    pub(crate) fn cursor(&self) -> Cursor {
        Cursor { index: self.forgotten }
    }

    fn last(&self) -> Segment {
        self.segments.back().copied().unwrap_or(Segment { from: 0.0, sum: 0.0, rate: 0.0 })
    }

    fn get(&self, index: usize) -> Option<&Segment> {
        self.segments.get(index.checked_sub(self.forgotten)?)
    }

    /// How much has arrived until `now`.
    pub(crate) fn sum(&self, now: f64) -> f64 {
        let last = self.last();
        last.sum + last.rate * (now - last.from)
    }

    /// From `now` on arrivals come at `rate`.
    pub(crate) fn set_rate(&mut self, now: f64, rate: f64) {
        if rate.to_bits() != self.last().rate.to_bits() {
            self.push(now, 0.0, rate);
        }
    }

    /// One arrives at `now`.
    pub(crate) fn arrive(&mut self, now: f64) {
        self.push(now, 1.0, self.last().rate);
    }

    fn push(&mut self, now: f64, more: f64, rate: f64) {
        let sum = self.sum(now) + more;
        self.segments.push_back(Segment { from: now, sum, rate });
    }

    /// The curve `delay` seconds before `now`; `cursor` moves there.
    pub(crate) fn past(&self, cursor: &mut Cursor, now: f64, delay: f64) -> Past {
        let then = now - delay;
        if then < 0.0 {
            return Past { sum: 0.0, rate: 0.0, jumped: 0.0, until: delay };
        }
        let mut jumped = 0.0;
        while let (Some(here), Some(next)) = (self.get(cursor.index), self.get(cursor.index + 1))
            // Rounding must not leave a break just behind the present for ever.
            && next.from <= then + 1e-9
        {
            jumped += next.sum - (here.sum + here.rate * (next.from - here.from));
            cursor.index += 1;
        }
        let here = self.get(cursor.index).copied().unwrap_or_else(|| self.last());
        Past {
            sum: here.sum + here.rate * (then - here.from).max(0.0),
            rate: here.rate,
            jumped,
            until: self.get(cursor.index + 1).map_or(f64::INFINITY, |next| next.from + delay),
        }
    }

    /// When the sum reached `sum`; `cursor` moves there.
    pub(crate) fn reached(&self, cursor: &mut Cursor, sum: f64) -> f64 {
        while self.get(cursor.index + 1).is_some_and(|next| next.sum <= sum) {
            cursor.index += 1;
        }
        let here = self.get(cursor.index).copied().unwrap_or_else(|| self.last());
        let end = self.get(cursor.index + 1).map_or(f64::INFINITY, |next| next.from);
        let at = if here.rate > 0.0 { here.from + (sum - here.sum).max(0.0) / here.rate } else { end };
        let at = at.min(end);
        if at.is_finite() { at } else { here.from }
    }

    /// Forgets what lies behind all `cursors`.
    pub(crate) fn forget(&mut self, cursors: &[Cursor]) {
        let needed = cursors.iter().map(|cursor| cursor.index).min().unwrap_or(self.forgotten);
        while self.forgotten < needed && self.segments.len() > 1 {
            self.segments.pop_front();
            self.forgotten += 1;
        }
    }
}
