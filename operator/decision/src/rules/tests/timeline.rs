//! The builder that the timelines are written with. It plays the operator: what is decided is written to the target, the
//! time of an activation is kept, and the next state is handed to the next decision.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    Activity, Bounds, Config, Cooldown, Decision, Failure, FailureKind, Fallback, FallbackBehavior, Hand, HpaAnswer,
    Observation, Outcome, PolicyKind, Reading, Sample, ScaleUp, ScalingPolicy, SelectPolicy, State, TargetKind,
    Trigger, Verdict, decide,
};

/// Start of all timelines.
pub(super) fn start() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

/// A configuration in the making: one `AverageValue` trigger of target 10, 0 to 10 replicas, a cooldown of 60 s.
#[derive(Debug, Clone)]
pub(super) struct Object {
    triggers: Vec<Trigger>,
    bounds: Bounds,
    cooldown: Duration,
    initial: Duration,
    scale_up: ScaleUp,
    fallback: Option<Fallback>,
}

pub(super) fn object() -> Object {
    Object {
        triggers: vec![trigger(0, TargetKind::AverageValue, 10.0)],
        bounds: Bounds { min: 0, max: 10, idle: None },
        cooldown: Duration::from_secs(60),
        initial: Duration::ZERO,
        scale_up: ScaleUp::default(),
        fallback: None,
    }
}

fn trigger(index: usize, kind: TargetKind, target: f64) -> Trigger {
    Trigger { metric_name: format!("s{index}-rabbitmq-orders"), kind, target, activation: 0.0 }
}

impl Object {
    pub(super) fn min(mut self, min: u32) -> Self {
        self.bounds.min = min;
        self
    }

    pub(super) fn max(mut self, max: u32) -> Self {
        self.bounds.max = max;
        self
    }

    pub(super) fn idle(mut self, idle: u32) -> Self {
        self.bounds.idle = Some(idle);
        self
    }

    pub(super) fn cooldown(mut self, seconds: u64) -> Self {
        self.cooldown = Duration::from_secs(seconds);
        self
    }

    pub(super) fn initial_cooldown(mut self, seconds: u64) -> Self {
        self.initial = Duration::from_secs(seconds);
        self
    }

    /// The activation value of the newest trigger.
    pub(super) fn activation(mut self, activation: f64) -> Self {
        self.triggers.last_mut().unwrap().activation = activation;
        self
    }

    /// The target of the newest trigger.
    pub(super) fn target(mut self, target: f64) -> Self {
        self.triggers.last_mut().unwrap().target = target;
        self
    }

    /// Makes the newest trigger a `Value` one.
    pub(super) fn value(mut self) -> Self {
        self.triggers.last_mut().unwrap().kind = TargetKind::Value;
        self
    }

    /// A fallback after more than 3 failures.
    pub(super) fn fallback(mut self, replicas: u32, behavior: FallbackBehavior) -> Self {
        self.fallback = Some(Fallback { failure_threshold: 3, replicas, behavior });
        self
    }

    /// One more `AverageValue` trigger.
    pub(super) fn and_trigger(mut self, target: f64) -> Self {
        self.triggers.push(trigger(self.triggers.len(), TargetKind::AverageValue, target));
        self
    }

    pub(super) fn stabilised(mut self, seconds: u64) -> Self {
        self.scale_up.stabilisation = Duration::from_secs(seconds);
        self
    }

    pub(super) fn pods(mut self, value: u32) -> Self {
        self.scale_up.policies.push(ScalingPolicy { kind: PolicyKind::Pods, value });
        self
    }

    pub(super) fn percent(mut self, value: u32) -> Self {
        self.scale_up.policies.push(ScalingPolicy { kind: PolicyKind::Percent, value });
        self
    }

    pub(super) fn select(mut self, select: SelectPolicy) -> Self {
        self.scale_up.select = select;
        self
    }

    /// The timeline of such an object, at 0 replicas and 0 s, created just then, with a start-up limit of 300 s.
    pub(super) fn timeline(self) -> Timeline {
        let count = self.triggers.len();
        let limit = Duration::from_secs(300);
        let config =
            Config::new(self.triggers, self.bounds, self.cooldown, self.initial, self.scale_up, limit).unwrap();
        let config = config.with_fallback(self.fallback);
        let unread = Reading { interval: Duration::from_secs(1), ..Reading::default() };
        let observation = Observation {
            triggers: vec![unread; count],
            replicas: 0,
            ready: 0,
            created_at: start(),
            last_active_time: None,
            hpa_answer: None,
            since_last: None,
            hand: Hand::default(),
        };
        Timeline { config, observation, state: State::default(), now: start(), last: None }
    }
}

/// What has happened so far.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    pub(super) config: Config,
    pub(super) observation: Observation,
    pub(super) state: State,
    pub(super) now: Timestamp,
    last: Option<Decision>,
}

impl Timeline {
    /// Moves the clock to `seconds` after the start; back as well as forward.
    pub(super) fn at(self, seconds: i64) -> Self {
        self.at_ms(seconds * 1000)
    }

    pub(super) fn at_ms(mut self, milliseconds: i64) -> Self {
        self.now = start() + SignedDuration::from_millis(milliseconds);
        self
    }

    /// By a clock that cannot be set, the previous decision was so many seconds ago.
    pub(super) fn since_last(mut self, seconds: u64) -> Self {
        self.observation.since_last = Some(Duration::from_secs(seconds));
        self
    }

    /// How often trigger 0 is read, in seconds.
    pub(super) fn interval(mut self, seconds: u64) -> Self {
        self.observation.triggers[0].interval = Duration::from_secs(seconds);
        self
    }

    /// Trigger 0 answers.
    pub(super) fn reads(self, value: f64) -> Self {
        self.reads_of(0, value)
    }

    pub(super) fn reads_of(self, trigger: usize, value: f64) -> Self {
        self.sample(trigger, value, Activity::Number(value), None)
    }

    /// Trigger 0 answers with a verdict of its own.
    pub(super) fn decided(self, value: f64, active: bool) -> Self {
        self.sample(0, value, Activity::Decided(active), None)
    }

    /// Trigger 0 answers, and knows how many replicas can have work at once.
    pub(super) fn reads_capped(self, value: f64, limit: u32) -> Self {
        self.sample(0, value, Activity::Number(value), Some(limit))
    }

    pub(super) fn sample(mut self, trigger: usize, value: f64, activity: Activity, limit: Option<u32>) -> Self {
        let sample = Sample { value, activity, limit, at: self.now };
        let reading = &mut self.observation.triggers[trigger];
        reading.latest = Some(Outcome::Ok(sample));
        reading.last_ok = Some(sample);
        reading.failures = 0;
        self
    }

    /// Trigger 0 cannot be read.
    pub(super) fn fails(self) -> Self {
        self.fails_of(0)
    }

    pub(super) fn fails_of(mut self, trigger: usize) -> Self {
        let failure = self.failure(FailureKind::Unreachable);
        let reading = &mut self.observation.triggers[trigger];
        reading.latest = Some(Outcome::Failed(failure));
        reading.failures += 1;
        self
    }

    /// The queue of trigger 0 is not there.
    pub(super) fn absent(mut self) -> Self {
        let failure = self.failure(FailureKind::NotFound);
        self.observation.triggers[0].latest = Some(Outcome::Absent(failure));
        self
    }

    fn failure(&self, kind: FailureKind) -> Failure {
        Failure { kind, message: "connection refused".to_owned(), field: Some("host"), at: self.now }
    }

    /// A person asks for something by hand.
    pub(super) fn hand(mut self, hand: Hand) -> Self {
        self.observation.hand = hand;
        self
    }

    /// Somebody else (the HPA, a person) sets the replicas.
    pub(super) fn replicas(mut self, replicas: u32) -> Self {
        self.observation.replicas = replicas;
        self
    }

    pub(super) fn ready(mut self, ready: u32) -> Self {
        self.observation.ready = ready;
        self
    }

    /// The HPA controller asks for the metrics now.
    pub(super) fn hpa_asks(mut self) -> Self {
        self.observation.hpa_answer = Some(HpaAnswer { any: self.now, by_hpa: Some(self.now) });
        self
    }

    /// Somebody else asks for the metrics now.
    pub(super) fn somebody_asks(mut self) -> Self {
        let by_hpa = self.observation.hpa_answer.and_then(|answer| answer.by_hpa);
        self.observation.hpa_answer = Some(HpaAnswer { any: self.now, by_hpa });
        self
    }

    /// The operator restarts: its memory and its readings are gone, what Kubernetes keeps is not.
    pub(super) fn restart(mut self) -> Self {
        self.state = State::default();
        self.observation.hpa_answer = None;
        for reading in &mut self.observation.triggers {
            reading.latest = None;
            reading.last_ok = None;
        }
        self
    }

    /// Decides, without keeping the answer.
    pub(super) fn peek(&self, now: Timestamp) -> Decision {
        decide(&self.observation, &self.config, &self.state, now)
    }

    /// Decides now and does what was decided.
    #[track_caller]
    pub(super) fn expect(mut self, verdict: Verdict) -> Self {
        let decision = self.peek(self.now);
        let second = self.now.duration_since(start()).as_millis() as f64 / 1000.0;
        assert_eq!(decision.verdict, verdict, "at {second} s: {:#?}", decision.trail);
        assert_chained(&decision, self.observation.replicas);
        if decision.marks_activation(self.observation.last_active_time) {
            self.observation.last_active_time = Some(self.now);
        }
        if let Some(written) = decision.verdict.write() {
            assert_eq!(written, decision.desired, "what is written is what is wanted");
            self.observation.replicas = written;
        }
        self.state = decision.next.clone();
        self.last = Some(decision);
        self
    }

    /// Trigger 0 reads `value` every 5 s until `seconds`, and each time the verdict is the same.
    #[track_caller]
    pub(super) fn until(mut self, seconds: i64, value: f64, verdict: Verdict) -> Self {
        let end = start() + SignedDuration::from_secs(seconds);
        while self.now < end {
            self.now = (self.now + SignedDuration::from_secs(5)).min(end);
            self = self.reads(value).expect(verdict);
        }
        self
    }

    pub(super) fn last(&self) -> &Decision {
        self.last.as_ref().expect("nothing was decided yet")
    }

    #[track_caller]
    pub(super) fn wants(self, desired: u32) -> Self {
        assert_eq!(self.last().desired, desired, "{:#?}", self.last().trail);
        self
    }

    /// What is served for each trigger that is served, in whole units.
    #[track_caller]
    pub(super) fn serves(self, values: &[(usize, f64)]) -> Self {
        let served: Vec<_> = self.last().served.iter().map(|one| (one.trigger, one.milli as f64 / 1000.0)).collect();
        assert_eq!(served, values);
        self
    }

    #[track_caller]
    pub(super) fn holds(self, held: bool) -> Self {
        assert_eq!(self.state.hold.is_some(), held, "{:?}", self.state.hold);
        self
    }

    #[track_caller]
    pub(super) fn quiet_for(self, seconds: u64) -> Self {
        assert_eq!(self.state.cooldown.quiet, Duration::from_secs(seconds));
        self
    }

    #[track_caller]
    pub(super) fn says(self, before: u32, sentence: &str) -> Self {
        assert_eq!(self.last().sentence(&self.config, before), sentence);
        self
    }

    /// The memory of the clock, to compare.
    pub(super) fn clock(&self) -> Cooldown {
        self.state.cooldown
    }
}

/// Each step of a trail starts where the one before ended, from the replicas there are to the replicas wanted.
#[track_caller]
pub(super) fn assert_chained(decision: &Decision, current: u32) {
    let mut figure = current;
    for step in &decision.trail {
        assert_eq!(step.before, figure, "{:#?}", decision.trail);
        figure = step.after;
    }
    assert_eq!(figure, decision.desired, "{:#?}", decision.trail);
}
