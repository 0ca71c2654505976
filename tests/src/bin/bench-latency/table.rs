//! The result: what was measured, beside KEDA's figures and the bars.

use std::fmt;

use comfy_table::{ContentArrangement, Table as Grid, presets};
use serde_json::{Value, json};

use crate::Args;

/// Where KEDA's figures come from.
const NOTE: &str = "KEDA: main of 2026-08-20 (after 2.20.2), default flags, measured once on the same kind of control plane \
    (Kubernetes 1.36, real HPA controller at sync 15 s, fake pods ready in 200 ms) on 2 cores shared with other work; \
    p50 / max unless said.";

/// One line.
#[derive(Debug)]
struct Row {
    what: String,
    keda: &'static str,
    bar: &'static str,
    measured: String,
    met: Option<bool>,
    figures: Value,
}

/// All lines.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Row>,
    conditions: Value,
}

impl Table {
    /// An empty one; notes the conditions of the measurement.
    pub fn new(args: &Args) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let program = windlass_tests::operator::binary().map(|path| path.display().to_string());
        let conditions = json!({
            "cores": cores, "loadAtStart": load(), "operator": program.unwrap_or_default(), "start": windlass_tests::now(),
            "hpaSync": "15s", "hpaStabilization": "5m", "runs": args.runs, "objects": args.objects,
        });
        Self { rows: Vec::new(), conditions }
    }

    /// Adds a line. `met` is `None` where there is no bar.
    pub fn row(
        &mut self,
        what: impl Into<String>,
        (keda, bar): (&'static str, &'static str),
        measured: impl Into<String>,
        met: Option<bool>,
        figures: Value,
    ) {
        let (what, measured) = (what.into(), measured.into());
        crate::progress(format!("=> {what}: {measured} (bar: {bar})"));
        self.rows.push(Row { what, keda, bar, measured, met, figures });
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                json!({"what": row.what, "keda": row.keda, "bar": row.bar, "measured": row.measured, "met": row.met,
                    "figures": row.figures})
            })
            .collect();
        json!({"conditions": self.conditions, "loadAtEnd": load(), "note": NOTE, "rows": rows})
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut grid = Grid::new();
        grid.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
        grid.set_header(["what", "KEDA", "bar", "measured", "met?"]);
        for Row { what, keda, bar, measured, met, .. } in &self.rows {
            let met = met.map_or("-", |met| if met { "yes" } else { "NO" });
            grid.add_row([what.as_str(), keda, bar, measured.as_str(), met]);
        }
        writeln!(f, "{grid}\n\n{NOTE}")?;
        let text = |name: &str| self.conditions[name].to_string().replace('"', "");
        write!(
            f,
            "Windlass: {}, {} cores, load {} at the start and {} at the end, HPA sync 15 s, stabilisation 5 min.",
            text("operator"),
            text("cores"),
            text("loadAtStart"),
            load()
        )
    }
}

/// The machine's load over one minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
