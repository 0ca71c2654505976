//! The result as text for people. It rounds; never computes.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use windlass_simulate::{Compared, Report, Sweep, amount, percent, span};

/// The load, the table of policies, the sweep, and what was left out.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let series = &report.series;
    let workload = &report.workload;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}: {} from {}, {} points of {}, {} arrivals/s on average, {} at most",
        series.name,
        span(series.seconds),
        series.start,
        series.points,
        span(series.step_seconds),
        amount(series.rate_mean),
        amount(series.rate_max),
    );
    if series.holes.count > 0 {
        let holes = series.holes;
        let _ = writeln!(text, "holes: {}, {} together, filled in", holes.count, span(holes.seconds as f64));
    }
    let timeout = workload.timeout_seconds.map(|seconds| format!(", lost after {}", span(seconds))).unwrap_or_default();
    let _ = writeln!(
        text,
        "{}: {}/s per replica, ready after {}, late after {}{timeout}\n",
        workload.model,
        amount(workload.service_rate),
        span(workload.startup_seconds),
        span(workload.slo_seconds),
    );
    let _ = writeln!(text, "{}", policies(&report.policies));
    if let Some(sweep) = &report.sweep {
        let _ = write!(text, "\n{}", swept(sweep));
    }
    for note in &report.notes {
        let _ = writeln!(text, "\nnote: {note}");
    }
    text
}

fn policies(policies: &[Compared]) -> String {
    let mut table = table(&[
        "POLICY",
        "VIOLATED",
        "%",
        "LATE",
        "LOST",
        "POD-HOURS",
        "OUT",
        "IN",
        "PEAK",
        "BACKLOG",
        "MEAN",
        "WAIT",
        "ACC-U%",
        "ACC-O%",
        "TIME-U%",
        "TIME-O%",
        "INSTAB%",
        "SPEEDUP",
    ]);
    for Compared { outcome, elastic_speedup } in policies {
        let spec = outcome.elasticity;
        table.add_row(vec![
            outcome.policy.clone(),
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
            percent(spec.accuracy_under),
            percent(spec.accuracy_over),
            percent(spec.time_share_under),
            percent(spec.time_share_over),
            percent(spec.instability),
            elastic_speedup.map_or_else(|| "-".to_owned(), |speedup| format!("{speedup:.2}")),
        ]);
    }
    printed(&mut table)
}

fn swept(sweep: &Sweep) -> String {
    let mut table = table(&["", "TARGET", "COOLDOWN", "MIN", "VIOLATED", "%", "LOST", "POD-HOURS", "OUT", "IN"]);
    for row in &sweep.pareto {
        let (setting, outcome) = (&row.setting, &row.outcome);
        table.add_row(vec![
            if row.cheapest { "=>".to_owned() } else { String::new() },
            amount(setting.target),
            span(setting.cooldown_seconds as f64),
            setting.min.to_string(),
            span(outcome.violation_seconds),
            percent(outcome.violation_percent),
            amount(outcome.lost),
            amount(outcome.pod_hours),
            outcome.scale_out.to_string(),
            outcome.scale_in.to_string(),
        ]);
    }
    let found = if sweep.pareto.iter().any(|row| row.cheapest) {
        "=> is the cheapest within it"
    } else {
        "none of them is within it"
    };
    let budget = percent(sweep.budget_percent);
    format!(
        "sweep of {}: {} settings tried, budget {budget} %, {found}\n{}\n",
        sweep.policy,
        sweep.tried,
        printed(&mut table)
    )
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}

/// Names to the left, figures to the right.
fn printed(table: &mut Table) -> String {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    // The style puts a blank before each column, the first too.
    let lines: Vec<String> =
        table.trim_fmt().lines().map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned()).collect();
    lines.join("\n")
}
