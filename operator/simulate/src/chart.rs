//! The chart as SVG: load, replicas needed and replicas of each policy, and when the objective was not met. Draws numbers
//! it is given, with no script and nothing from outside; never computes them.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::words::{amount, escaped, percent, shortened, span};
use crate::{Bucket, Compared, Report};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 132.0;
const RIGHT: f64 = 18.0;
const LOAD: f64 = 110.0;
const REPLICAS: f64 = 230.0;
const BACKLOG: f64 = 90.0;
const ROW: f64 = 20.0;
const GAP: f64 = 34.0;

/// Colours and strokes of the policies: apart for the colour-blind, and by their dashes without any colour.
const DASHES: [&str; 6] = ["none", "7 3", "2 3", "9 3 2 3", "4 2", "1 2"];

/// The style of the chart in both colour schemes; the page uses the same variables.
pub(crate) const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d8dee4;--load:#8c959f;--need:#c9d1d9;\
--bad:#b3261e;--p0:#0b63b5;--p1:#b45309;--p2:#0f766e;--p3:#86198f;--p4:#4d7c0f;--p5:#be123c}\
@media (prefers-color-scheme:dark){:root{--bg:#0d1117;--ink:#e6edf3;--soft:#9da7b3;--line:#30363d;--load:#8b949e;\
--need:#3a424c;--bad:#ff7b72;--p0:#6cb6ff;--p1:#f0a35e;--p2:#5eead4;--p3:#e29bf0;--p4:#b5d86a;--p5:#fda4af}}\
.chart text{font:13px system-ui,sans-serif;fill:var(--ink)}.chart .soft{fill:var(--soft)}.chart .head{font-weight:600}\
.chart .num{text-anchor:end}.chart .mid{text-anchor:middle}.chart .grid{stroke:var(--line);stroke-width:1}\
.chart .load{fill:var(--load);fill-opacity:.35;stroke:var(--load);stroke-width:1}.chart .need{fill:var(--need)}\
.chart .bad{fill:var(--bad)}.chart .row{fill:var(--line);fill-opacity:.45}\
.chart .p{fill:none;stroke-width:1.8;stroke-linejoin:round}\
.chart .p0{stroke:var(--p0)}.chart .p1{stroke:var(--p1)}.chart .p2{stroke:var(--p2)}.chart .p3{stroke:var(--p3)}\
.chart .p4{stroke:var(--p4)}.chart .p5{stroke:var(--p5)}";

/// The report as one self-contained SVG with a table of its numbers.
#[must_use]
pub fn svg(report: &Report) -> String {
    let mut drawing = Drawing::new(report);
    drawing.chart();
    drawing.numbers();
    let style = format!("<style>{STYLE}</style><rect width=\"100%\" height=\"100%\" style=\"fill:var(--bg)\"/>");
    drawing.closed(&style, "xmlns=\"http://www.w3.org/2000/svg\" ")
}

/// The chart alone, to be put into a page that has [`STYLE`] and the numbers.
pub(crate) fn inline(report: &Report) -> String {
    let mut drawing = Drawing::new(report);
    drawing.chart();
    drawing.closed("", "")
}

struct Drawing<'a> {
    report: &'a Report,
    out: String,
    /// How far down it has come.
    y: f64,
}

impl<'a> Drawing<'a> {
    fn new(report: &'a Report) -> Self {
        Self { report, out: String::new(), y: 24.0 }
    }

    fn closed(self, inside: &str, attributes: &str) -> String {
        let (height, report) = (self.y + 12.0, self.report);
        let title = escaped(&format!("{}: replicas under {}", names(report), report.series.name));
        let said: Vec<String> = report.policies.iter().map(sentence).collect();
        let desc = escaped(&said.join(" "));
        format!(
            "<svg {attributes}class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" role=\"img\" \
             aria-labelledby=\"chart-title chart-desc\">\n<title id=\"chart-title\">{title}</title>\n\
             <desc id=\"chart-desc\">{desc}</desc>\n{inside}\n{}</svg>\n",
            self.out
        )
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(element);
        self.out.push('\n');
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.put(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}</text>", escaped(text)));
    }

    fn x(&self, at: u64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (at as f64 / self.report.chart.end.max(1) as f64)
    }

    /// From when to when stretch `index` reaches, in places.
    fn stretch(&self, index: usize) -> (f64, f64) {
        let chart = &self.report.chart;
        let from = index as u64 * chart.width;
        (self.x(from), self.x((from + chart.width).min(chart.end)))
    }

    fn chart(&mut self) {
        let report = self.report;
        let series = &report.series;
        self.text(LEFT, self.y, "head", &format!("{} over {}", shortened(&series.name, 70), span(series.seconds)));
        self.y += 22.0;
        self.legend();
        self.y += 14.0;

        self.text(LEFT, self.y, "soft", "arrivals per second");
        self.y += 8.0;
        let top = top(report.chart.load.iter().copied());
        self.axis(LOAD, top);
        let area = self.area(&report.chart.load, LOAD, top);
        self.put(format_args!("<path class=\"load\" d=\"{area}\"/>"));
        self.y += LOAD + GAP;

        self.text(LEFT, self.y, "soft", "replicas; the grey area is what is needed");
        self.y += 8.0;
        let top = self.most_replicas();
        self.axis(REPLICAS, top);
        let area = self.area(&report.chart.needed, REPLICAS, top);
        self.put(format_args!("<path class=\"need\" d=\"{area}\"/>"));
        self.lines(REPLICAS, top, |policy| !beyond(policy, top), |bucket| bucket.replicas);
        self.y += REPLICAS + GAP;

        self.text(LEFT, self.y, "soft", "backlog; the most of each stretch of time");
        self.y += 8.0;
        let buckets = report.policies.iter().flat_map(|policy| &policy.outcome.buckets);
        let top = self::top(buckets.map(|bucket| bucket.backlog));
        self.axis(BACKLOG, top);
        self.lines(BACKLOG, top, |_| true, |bucket| bucket.backlog);
        self.y += BACKLOG + GAP;

        self.text(LEFT, self.y, "soft", "objective not met");
        self.y += 8.0;
        for policy in &report.policies {
            self.violations(policy);
        }
        self.times();
    }

    fn legend(&mut self) {
        let report = self.report;
        let top = self.most_replicas();
        let mut x = LEFT;
        for (index, policy) in report.policies.iter().enumerate() {
            let name = shortened(&policy.outcome.policy, 40);
            let label = if beyond(policy, top) {
                format!("{name} (always {}, above the scale)", policy.outcome.replicas_max)
            } else {
                name
            };
            let width = 44.0 + 7.2 * label.chars().count() as f64;
            if x > LEFT && x + width > WIDTH - RIGHT {
                x = LEFT;
                self.y += 20.0;
            }
            let (colour, dash) = (index % DASHES.len(), DASHES[index % DASHES.len()]);
            let y = self.y - 4.0;
            self.put(format_args!("<path class=\"p p{colour}\" stroke-dasharray=\"{dash}\" d=\"M{x:.1} {y:.1}h26\"/>"));
            self.text(x + 32.0, self.y, "", &label);
            x += width;
        }
        self.y += 18.0;
    }

    /// The top of the replica scale. A policy that never moves and lies far above all others does not set it.
    fn most_replicas(&self) -> f64 {
        let most = |policy: &Compared| policy.outcome.buckets.iter().map(|bucket| bucket.replicas).fold(0.0, f64::max);
        let needed = self.report.chart.needed.iter().copied().fold(1.0, f64::max);
        let moving = self.report.policies.iter().filter(|policy| !still(policy)).map(most).fold(needed, f64::max);
        let within = self.report.policies.iter().map(most).filter(|most| *most <= moving * 2.5);
        top(within.chain([moving]))
    }

    fn axis(&mut self, height: f64, top: f64) {
        let (y, right) = (self.y, WIDTH - RIGHT);
        for tick in 0..=4_u32 {
            let value = top * f64::from(tick) / 4.0;
            let place = y + height * (1.0 - f64::from(tick) / 4.0);
            self.put(format_args!("<path class=\"grid\" d=\"M{LEFT} {place:.1}H{right}\"/>"));
            self.text(LEFT - 8.0, place + 4.0, "num soft", &amount(value));
        }
    }

    /// A closed step function.
    fn area(&self, values: &[f64], height: f64, top: f64) -> String {
        let bottom = self.y + height;
        let mut path = format!("M{LEFT} {bottom:.1}");
        for (index, value) in values.iter().enumerate() {
            let (_, to) = self.stretch(index);
            let _ = write!(path, "V{:.1}H{to:.1}", bottom - height * (value / top).min(1.0));
        }
        let _ = write!(path, "V{bottom:.1}Z");
        path
    }

    /// One line for each policy of which `shown` is true.
    fn lines(&mut self, height: f64, top: f64, shown: impl Fn(&Compared) -> bool, value: fn(&Bucket) -> f64) {
        let bottom = self.y + height;
        // The last is drawn first, so that the policies that were asked for lie on top.
        for (number, policy) in self.report.policies.iter().enumerate().rev().filter(|(_, policy)| shown(policy)) {
            let mut path = String::new();
            for (index, bucket) in policy.outcome.buckets.iter().enumerate() {
                let (from, to) = self.stretch(index);
                let y = bottom - height * (value(bucket) / top).min(1.0);
                // Writing to a string cannot fail.
                let _ = if index == 0 {
                    write!(path, "M{from:.1} {y:.1}H{to:.1}")
                } else {
                    write!(path, "V{y:.1}H{to:.1}")
                };
            }
            let (colour, dash) = (number % DASHES.len(), DASHES[number % DASHES.len()]);
            self.put(format_args!("<path class=\"p p{colour}\" stroke-dasharray=\"{dash}\" d=\"{path}\"/>"));
        }
    }

    fn violations(&mut self, policy: &Compared) {
        let (y, width) = (self.y, WIDTH - LEFT - RIGHT);
        self.text(LEFT - 8.0, y + 14.0, "num", &shortened(&policy.outcome.policy, 16));
        self.put(format_args!(
            "<rect class=\"row\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width}\" height=\"{}\"/>",
            ROW - 4.0
        ));
        let stretch_seconds = self.report.chart.width as f64 / 1000.0;
        for (index, bucket) in policy.outcome.buckets.iter().enumerate().filter(|(_, bucket)| bucket.violated > 0.0) {
            let (from, to) = self.stretch(index);
            // Never fainter than can be seen.
            let opacity = (0.4 + 0.6 * bucket.violated / stretch_seconds).min(1.0);
            let (width, height) = ((to - from).max(1.0), ROW - 4.0);
            self.put(format_args!(
                "<rect class=\"bad\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" \
                 opacity=\"{opacity:.2}\"/>"
            ));
        }
        self.y += ROW;
    }

    fn times(&mut self) {
        const STEPS: [i64; 16] = [
            10, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600, 2_592_000,
            7_776_000, 31_536_000,
        ];
        let chart = &self.report.chart;
        let (start, end) = (chart.start, i64::try_from(chart.end).unwrap_or(i64::MAX));
        let step = STEPS.into_iter().find(|step| end / (step * 1000) <= 8).unwrap_or(31_536_000) * 1000;
        let format = if step >= 86_400_000 {
            "%-d %b"
        } else if step >= 60_000 {
            "%-d %b %H:%M"
        } else {
            "%H:%M:%S"
        };
        let y = self.y + 14.0;
        let mut at = start.div_euclid(step) * step;
        while at <= start.saturating_add(end) {
            if let (true, Ok(since)) = (at >= start, u64::try_from(at - start)) {
                let x = self.x(since);
                let when = Timestamp::from_millisecond(at).unwrap_or_default().to_zoned(TimeZone::UTC);
                let label = when.strftime(format).to_string();
                self.put(format_args!("<path class=\"grid\" d=\"M{x:.1} {:.1}v6\"/>", self.y - 4.0));
                // A label at the edge would be cut.
                if x > WIDTH - RIGHT - 40.0 {
                    self.text(WIDTH - RIGHT, y, "num soft", &label);
                } else {
                    self.text(x, y, "mid soft", &label);
                }
            }
            at += step;
        }
        self.y += 32.0;
        self.text(LEFT, self.y, "soft", &format!("UTC; starts {}", self.report.series.start));
        self.y += 10.0;
    }

    /// The numbers below the chart.
    fn numbers(&mut self) {
        const COLUMNS: [(f64, &str); 8] = [
            (330.0, "violated"),
            (400.0, "%"),
            (500.0, "late"),
            (600.0, "lost"),
            (700.0, "pod-hours"),
            (790.0, "out / in"),
            (880.0, "too little %"),
            (975.0, "too much %"),
        ];
        self.y += 30.0;
        self.text(24.0, self.y, "head", "policy");
        for (x, name) in COLUMNS {
            self.text(x, self.y, "head num", name);
        }
        for policy in &self.report.policies {
            self.y += 21.0;
            let outcome = &policy.outcome;
            let spec = outcome.elasticity;
            let figures = [
                span(outcome.violation_seconds),
                percent(outcome.violation_percent),
                amount(outcome.late),
                amount(outcome.lost),
                amount(outcome.pod_hours),
                format!("{} / {}", outcome.scale_out, outcome.scale_in),
                percent(spec.accuracy_under),
                percent(spec.accuracy_over),
            ];
            self.text(24.0, self.y, "", &shortened(&outcome.policy, 30));
            for ((x, _), figure) in COLUMNS.into_iter().zip(figures) {
                self.text(x, self.y, "num", &figure);
            }
        }
        self.y += 8.0;
    }
}

fn still(policy: &Compared) -> bool {
    policy.outcome.scale_out == 0 && policy.outcome.scale_in == 0
}

fn beyond(policy: &Compared, top: f64) -> bool {
    still(policy) && f64::from(policy.outcome.replicas_max) > top
}

fn names(report: &Report) -> String {
    report.policies.iter().map(|policy| policy.outcome.policy.as_str()).collect::<Vec<_>>().join(", ")
}

fn sentence(policy: &Compared) -> String {
    let outcome = &policy.outcome;
    format!(
        "{}: the objective was not met for {} ({} %), {} pod-hours, {} replicas at most.",
        outcome.policy,
        span(outcome.violation_seconds),
        percent(outcome.violation_percent),
        amount(outcome.pod_hours),
        outcome.replicas_max
    )
}

/// The end of a scale for `values` that divides into four even parts people can read.
fn top(values: impl Iterator<Item = f64>) -> f64 {
    let most = values.fold(0.0, f64::max);
    if most <= 0.0 {
        return 4.0;
    }
    let power = 10_f64.powf(most.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    let nice = steps.into_iter().map(|step| step * power).find(|top| *top >= most * (1.0 - 1e-9));
    nice.unwrap_or(10.0 * power)
}
