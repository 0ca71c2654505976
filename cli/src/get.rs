//! `windlass get so`: what is scaled, how many replicas, and what the conditions say.

use std::path::PathBuf;

use anyhow::Context;
use comfy_table::{Table, presets};
use kube::api::{DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, ResourceExt};
use windlass_crd::{Condition, ScaledObject, ScaledObjectStatus, condition_type as types};

use crate::stdout::put;

/// List scaled objects with their replicas and the reason for their state.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  windlass get so\n  windlass get so -n shop -o json\n  windlass get so -A")]
pub(crate) struct Args {
    /// What to list.
    #[arg(value_parser = ["so", "scaledobject", "scaledobjects"], default_value = "so")]
    resource: String,
    /// Namespace. [default: that of the kubeconfig's context]
    #[arg(short, long)]
    namespace: Option<String>,
    /// The API group of the objects.
    #[arg(long, default_value = "windlass.dev", value_parser = ["windlass.dev", "keda.sh"])]
    group: String,
    /// All namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// How to print.
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    output: String,
    /// Kubeconfig to use instead of the default one.
    #[arg(long, env = "WINDLASS_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let text = runtime.block_on(list(args))?;
    put(&text, "print the list")
}

async fn list(args: Args) -> anyhow::Result<String> {
    let client = crate::operator::client(args.kubeconfig.as_deref()).await?;
    let namespace = args.namespace.as_deref().unwrap_or_else(|| client.default_namespace()).to_owned();
    let gvk = GroupVersionKind::gvk(&args.group, windlass_crd::VERSION, "ScaledObject");
    let resource = kube::api::ApiResource::from_gvk_with_plural(&gvk, "scaledobjects");
    let api: Api<DynamicObject> = if args.all_namespaces {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), &namespace, &resource)
    };
    let found = api.list(&ListParams::default()).await.map_err(|error| explain(error, &args.group))?;
    if args.output == "json" {
        return Ok(format!("{}\n", serde_json::to_string_pretty(&found.items).context("write JSON")?));
    }
    if found.items.is_empty() {
        let place = if args.all_namespaces { "any namespace".to_owned() } else { format!("namespace {namespace}") };
        return Ok(format!("No scaled objects in {place}.\n"));
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec!["NAME", "TARGET", "REPLICAS", "MIN", "MAX", "READY", "ACTIVE", "REASON"];
    if args.all_namespaces {
        header.insert(0, "NAMESPACE");
    }
    table.set_header(header);
    for object in found.items {
        let object = read(object)?;
        let mut row = row(&client, &object).await;
        if args.all_namespaces {
            row.insert(0, object.namespace().unwrap_or_default());
        }
        table.add_row(row);
    }
    Ok(format!("{}\n", table.trim_fmt()))
}

/// Both groups have the same shape, but for what a condition has.
fn read(object: DynamicObject) -> anyhow::Result<ScaledObject> {
    let name = object.name_any();
    let status = object.data.get("status").cloned().map(ScaledObjectStatus::read);
    let spec = serde_json::from_value(object.data.get("spec").cloned().unwrap_or_default());
    let spec = spec.with_context(|| format!("read the spec of {name}"))?;
    Ok(ScaledObject { metadata: object.metadata, spec, status })
}

async fn row(client: &kube::Client, object: &ScaledObject) -> Vec<String> {
    let spec = &object.spec;
    let status = object.status.as_ref();
    let condition = |kind: &str| -> Option<&Condition> {
        status?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
    };
    let said = |kind: &str| condition(kind).map_or_else(|| "Unknown".to_owned(), |condition| condition.status.clone());
    let reason = match condition(types::READY) {
        None => "not seen by an operator yet".to_owned(),
        Some(ready) if ready.status != "True" => format!("{}: {}", ready.reason, ready.message.replace('\n', "; ")),
        Some(_) => condition(types::ACTIVE).map(|active| active.message.clone()).unwrap_or_default(),
    };
    let replicas = replicas(client, object).await.map_or_else(|| "?".to_owned(), |n| n.to_string());
    vec![
        object.name_any(),
        format!("{}/{}", spec.scale_target_ref.kind.as_deref().unwrap_or("Deployment"), spec.scale_target_ref.name),
        replicas,
        spec.min_replica_count.unwrap_or(0).to_string(),
        spec.max_replica_count.unwrap_or(100).to_string(),
        said(types::READY),
        said(types::ACTIVE),
        reason,
    ]
}

async fn replicas(client: &kube::Client, object: &ScaledObject) -> Option<i32> {
    let resource = object.status.as_ref()?.scale_target_gvkr.as_ref()?;
    let gvk = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
    let resource = kube::api::ApiResource::from_gvk_with_plural(&gvk, &resource.resource);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &object.namespace()?, &resource);
    let scale = api.get_scale(&object.spec.scale_target_ref.name).await.ok()?;
    // A Scale of 0 leaves the figure out.
    Some(scale.spec.and_then(|spec| spec.replicas).unwrap_or(0))
}

fn explain(error: kube::Error, group: &str) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            anyhow::anyhow!(
                "this cluster does not know ScaledObjects of {group}: run `windlass crd --group {group} | kubectl apply --server-side -f -`"
            )
        }
        error => anyhow::Error::new(error).context("list the scaled objects"),
    }
}
