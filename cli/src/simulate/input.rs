//! Files into policies and series. It reads; what it reads is understood by the crates behind it.

use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use windlass_crd::ScaledObject;
use windlass_simulate::{Policy, Series, csv};

use super::args::Args;
use super::prometheus;

/// The load, and what it is called.
pub(super) fn series(args: &Args) -> anyhow::Result<(String, Series)> {
    let reading = args.reading()?;
    let (name, flag, rows) = match &args.series {
        Some(path) => {
            let what = format!("read the series {} (--series)", path.display());
            let text = std::fs::read_to_string(path).with_context(|| what.clone())?;
            (stem(path), what, csv(&text))
        }
        None => {
            let query = args.prometheus.query.clone().unwrap_or_default();
            (query, "read the series of --query".to_owned(), Ok(prometheus::rows(&args.prometheus)?))
        }
    };
    let series = rows.and_then(|rows| Series::new(&rows, reading)).context(flag)?;
    Ok((name, series))
}

/// Every ScaledObject of every file.
pub(super) fn policies(args: &Args) -> anyhow::Result<Vec<Policy>> {
    let mut policies = Vec::new();
    for path in &args.policies {
        let what = || format!("read the policy {} (--policy)", path.display());
        let text = std::fs::read_to_string(path).with_context(what)?;
        let objects = objects(&text).with_context(what)?;
        let alone = objects.len() == 1;
        for object in objects {
            // The file tells two versions of one object apart.
            let own = object.metadata.name.as_deref().unwrap_or_default();
            let name = if alone { stem(path) } else { own.to_owned() };
            policies.push(Policy::from_object(&name, &object, args.poll).with_context(what)?);
        }
    }
    Ok(policies)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn objects(text: &str) -> anyhow::Result<Vec<ScaledObject>> {
    let mut objects = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let value = Value::deserialize(document).context("it is not YAML")?;
        if value["kind"] != "ScaledObject" {
            continue;
        }
        let object: ScaledObject = serde_json::from_value(value.clone()).context("it is not a ScaledObject")?;
        let known = serde_json::to_value(&object.spec).context("write JSON")?;
        if let Some(field) = unknown("spec", &value["spec"], &known) {
            bail!("{field}: is not a field of a ScaledObject; correct or remove it");
        }
        objects.push(object);
    }
    if objects.is_empty() {
        bail!("it holds no ScaledObject; give a file with kind: ScaledObject");
    }
    Ok(objects)
}

/// The first field that was written and not understood: an API server would drop it, and the replay be of something else.
fn unknown(path: &str, written: &Value, known: &Value) -> Option<String> {
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => written.iter().find_map(|(field, value)| {
            let path = format!("{path}.{field}");
            match known.get(field) {
                Some(known) => unknown(&path, value, known),
                None if value.is_null() => None,
                None => Some(path),
            }
        }),
        (Value::Array(written), Value::Array(known)) => written
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(index, (value, known))| unknown(&format!("{path}[{index}]"), value, known)),
        _ => None,
    }
}
