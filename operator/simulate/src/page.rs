//! The report as one HTML page: the chart, every number as a table, the sweep, and what the model leaves out. No script,
//! nothing from outside, light and dark; never computes a number.

use std::fmt::Write;

use crate::chart::{STYLE, inline};
use crate::words::{amount, escaped, percent, span};
use crate::{Report, Sweep};

const PAGE_STYLE: &str = "\
body{margin:0 auto;max-width:1040px;padding:24px 16px 48px;background:var(--bg);color:var(--ink);\
font:15px/1.5 system-ui,sans-serif}h1{font-size:22px;margin:0 0 4px}h2{font-size:17px;margin:32px 0 8px}\
p{margin:4px 0;color:var(--soft);max-width:75ch}svg{width:100%;height:auto;margin-top:16px}.scroll{overflow-x:auto}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap;font-size:14px}\
caption{text-align:left;white-space:normal;color:var(--soft);padding-bottom:4px}th,td{padding:5px 10px;text-align:right;\
border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left}tbody th{font-weight:400}tr.best th{font-weight:600}thead th{font-weight:600;\
vertical-align:bottom}tr.best{font-weight:600}tr.best th:first-child::before{content:\"\\2192\\00a0\"}";

/// The report as one self-contained page.
#[must_use]
pub fn html(report: &Report) -> String {
    let series = &report.series;
    let title = escaped(&format!("Windlass simulation of {}", series.name));
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(body, "<h1>{title}</h1>");
    let _ = writeln!(body, "<p>{}</p>", escaped(&facts(report)));
    body.push_str(&inline(report));
    body.push_str(&policies(report));
    if let Some(sweep) = &report.sweep {
        body.push_str(&swept(sweep));
    }
    for note in &report.notes {
        let _ = writeln!(body, "<p>Note: {}</p>", escaped(note));
    }
    body.push_str(MODEL);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<style>{STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n\
         {body}</main>\n</body>\n</html>\n"
    )
}

const MODEL: &str = "<h2>How it was computed</h2>\n<p>The operator's own decision and the algorithm of the Kubernetes HPA ran \
in virtual time against a model of the workload: arrivals flow, every replica serves at the same rate, all start equally fast, \
and the last value of the series holds until the next. A real cluster adds what the model leaves out: failing brokers, pods \
that wait for nodes, and noise within a step.</p>\n";

fn facts(report: &Report) -> String {
    let (series, workload) = (&report.series, &report.workload);
    let holes = match series.holes.count {
        0 => String::new(),
        count => format!(" Holes: {count}, {} together, filled in.", span(series.holes.seconds as f64)),
    };
    let timeout = workload.timeout_seconds.map(|seconds| format!(", lost after {}", span(seconds))).unwrap_or_default();
    format!(
        "{} from {} in {} steps of {}; {} arrivals per second on average, {} at most.{holes} Model {}: {} per second and \
         replica, ready after {}, late after {}{timeout}.",
        span(series.seconds),
        series.start,
        series.points,
        span(series.step_seconds),
        amount(series.rate_mean),
        amount(series.rate_max),
        workload.model,
        amount(workload.service_rate),
        span(workload.startup_seconds),
        span(workload.slo_seconds),
    )
}

fn policies(report: &Report) -> String {
    let header = [
        ("Policy", ""),
        ("Violated", "time in which the oldest that waited was older than the objective, or something was lost"),
        ("%", "of all time"),
        ("Late", "waited for longer than the objective"),
        ("Lost", "timed out"),
        ("Pod-hours", "start-up included"),
        ("Out", "times replicas were added"),
        ("In", "times replicas were taken away"),
        ("Peak", "most replicas"),
        ("Backlog max", ""),
        ("mean", "of the backlog over time"),
        ("Longest wait", ""),
    ];
    let rows: Vec<_> = report
        .policies
        .iter()
        .map(|policy| {
            let outcome = &policy.outcome;
            let cells = vec![
                escaped(&outcome.policy),
                span(outcome.violation_seconds),
                percent(outcome.violation_percent),
                amount(outcome.late),
                amount(outcome.lost),
                amount(outcome.pod_hours),
                outcome.scale_out.to_string(),
                outcome.scale_in.to_string(),
                outcome.replicas_max.to_string(),
                amount(outcome.backlog_max),
                amount(outcome.backlog_mean),
                span(outcome.wait_max_seconds),
            ];
            ("", cells)
        })
        .collect();
    let caption = "Less is better everywhere. Compare costs at equal violation.";
    format!("<h2>Policies</h2>\n{}{}", table(caption, &header, &rows), elasticity(report))
}

fn elasticity(report: &Report) -> String {
    let header = [
        ("Policy", ""),
        ("Accuracy U %", "demand that was missing"),
        ("Accuracy O %", "supply that was too much"),
        ("Time share U %", "time with too little"),
        ("Time share O %", "time with too much"),
        ("Instability %", "time in which supply did not move as demand did"),
        ("Speed-up", "elastic speed-up against plain-hpa"),
    ];
    let rows: Vec<_> = report
        .policies
        .iter()
        .map(|policy| {
            let spec = policy.outcome.elasticity;
            let cells = vec![
                escaped(&policy.outcome.policy),
                percent(spec.accuracy_under),
                percent(spec.accuracy_over),
                percent(spec.time_share_under),
                percent(spec.time_share_over),
                percent(spec.instability),
                policy.elastic_speedup.map_or_else(|| "-".to_owned(), |speedup| format!("{speedup:.2}")),
            ];
            ("", cells)
        })
        .collect();
    let caption = "Wrong provisioning (SPEC RG): U is too little, O too much, against the least replicas that keep up. Less is \
                   better everywhere but in the speed-up, which holds each policy against plain-hpa.";
    format!("<h2>Elasticity</h2>\n{}", table(caption, &header, &rows))
}

fn swept(sweep: &Sweep) -> String {
    let header = [
        ("Target", ""),
        ("Cooldown", ""),
        ("Minimum", ""),
        ("Violated", ""),
        ("%", "of all time"),
        ("Lost", ""),
        ("Pod-hours", ""),
        ("Out", ""),
        ("In", ""),
    ];
    let rows: Vec<_> = sweep
        .pareto
        .iter()
        .map(|row| {
            let (setting, outcome) = (&row.setting, &row.outcome);
            let cells = vec![
                amount(setting.target),
                span(setting.cooldown_seconds as f64),
                setting.min.to_string(),
                span(outcome.violation_seconds),
                percent(outcome.violation_percent),
                amount(outcome.lost),
                amount(outcome.pod_hours),
                outcome.scale_out.to_string(),
                outcome.scale_in.to_string(),
            ];
            (if row.cheapest { " class=\"best\"" } else { "" }, cells)
        })
        .collect();
    let budget = percent(sweep.budget_percent);
    let found = if sweep.pareto.iter().any(|row| row.cheapest) {
        "The arrow marks the cheapest within it."
    } else {
        "None is within it."
    };
    let caption = format!(
        "{} settings tried; these are the ones no other beats in both cost and violation. Budget: {budget} %. {found}",
        sweep.tried
    );
    format!("<h2>Sweep of {}</h2>\n{}", escaped(&sweep.policy), table(&caption, &header, &rows))
}

/// Each row: further attributes, and its cells.
fn table(caption: &str, header: &[(&str, &str)], rows: &[(&str, Vec<String>)]) -> String {
    let mut out = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><caption>{0}</caption>\n<thead><tr>",
        escaped(caption)
    );
    for (name, meaning) in header {
        let title = if meaning.is_empty() { String::new() } else { format!(" title=\"{}\"", escaped(meaning)) };
        let _ = write!(out, "<th scope=\"col\"{title}>{}</th>", escaped(name));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (attributes, cells) in rows {
        let _ = write!(out, "<tr{attributes}>");
        for (index, cell) in cells.iter().enumerate() {
            // Cells hold figures, or names that are escaped already.
            let _ =
                if index == 0 { write!(out, "<th scope=\"row\">{cell}</th>") } else { write!(out, "<td>{cell}</td>") };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    out
}
