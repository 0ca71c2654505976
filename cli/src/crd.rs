//! `windlass crd`: the resource types as YAML.

use std::io::Write;

use anyhow::Context;

pub(crate) fn run() -> anyhow::Result<()> {
    let yaml = windlass_crd::manifest().context("write the CRDs as YAML")?;
    std::io::stdout().write_all(yaml.as_bytes()).context("print the CRDs")
}
