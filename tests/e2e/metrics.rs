//! What a scrape of the operator shows, under its own names and under KEDA's: values, errors from the first failed reading on, both
//! groups apart, and nothing of what is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{Broker, Operator, eventually, run, shared};

const SOON: Duration = Duration::from_secs(60);

/// The samples of a scrape that name `namespace`, by name and labels; each may be there once only, or Prometheus takes none.
async fn scrape(operator: &Operator, namespace: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let text = operator.metrics().await?;
    ensure!(text.ends_with("# EOF\n"), "the page is cut");
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').context("a sample without a value")?;
        let value = value.parse().with_context(|| line.to_owned())?;
        ensure!(samples.insert(series.to_owned(), value).is_none(), "{series} is there twice");
    }
    samples.retain(|series, _| series.contains(&format!("namespace=\"{namespace}\"")));
    Ok(samples)
}

/// The one sample of this name that has all of these labels.
fn sample(samples: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> anyhow::Result<f64> {
    let found: Vec<_> = samples
        .iter()
        .filter(|(series, _)| {
            series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label))
        })
        .collect();
    ensure!(found.len() == 1, "{name} with {labels:?}: {found:?} among {samples:#?}");
    Ok(*found[0].1)
}

#[test]
fn a_scrape_shows_values_and_errors_of_both_groups_by_both_names_and_nothing_that_is_gone() {
    run(async {
        let shared = shared().await?;
        let (operator, rabbit) = (shared.operator, shared.rabbit);
        let ns = shared.rig.namespace("metrics").await?;
        let keda = ns.of_keda();
        let namespace = ns.name().to_owned();
        let scraped = async || scrape(operator, &namespace).await;
        let (ours, theirs) = (r#"group="windlass.dev""#, r#"group="keda.sh""#);
        for name in ["web", "other"] {
            ns.deployment(name, 0, &[]).await?;
        }

        // At 0 replicas, with a queue that is not there.
        let queue = namespace.clone();
        ns.scaled_object("web", &rabbit_spec("web", &rabbit.amqp_url(), &queue, 10, 4)).await?;
        eventually(SOON, "failed readings are counted", async || {
            let samples = scraped().await?;
            for prefix in ["windlass", "keda"] {
                let errors = sample(&samples, &format!("{prefix}_scaler_detail_errors_total"), &[])?;
                let empty = sample(&samples, &format!("{prefix}_scaler_empty_upstream_responses_total"), &[])?;
                let object = sample(&samples, &format!("{prefix}_scaled_object_errors_total"), &[])?;
                ensure!(errors >= 2.0 && empty >= 2.0 && object >= errors, "{prefix}: {errors}, {empty}, {object}");
            }
            ensure!(!samples.keys().any(|it| it.contains("_metrics_value{")), "a value of nothing: {samples:#?}");
            Ok(())
        })
        .await?;

        rabbit.declare(&queue).await?;
        rabbit.publish_at_once(std::slice::from_ref(&queue), 25).await?;
        let trigger = format!(
            r#"{{namespace="{namespace}",metric="s0-rabbitmq-{queue}",scaledObject="web",scaler="rabbitMQScaler",triggerIndex="0",type="scaledobject"}}"#
        );
        eventually(SOON, "the value is there", async || {
            let samples = scraped().await?;
            let value =
                samples.get(&format!("keda_scaler_metrics_value{trigger}")).context("no value by KEDA's labels")?;
            ensure!(
                *value == 25.0 && samples.get(&format!("keda_scaler_active{trigger}")) == Some(&1.0),
                "{samples:#?}"
            );
            ensure!(sample(&samples, "windlass_scaler_metrics_value", &[ours])? == 25.0, "{samples:#?}");
            let last = samples.get(&format!("keda_scaler_metrics_latency_seconds{trigger}")).context("no latency")?;
            ensure!(*last > 0.0, "{last}");
            let count = sample(&samples, "windlass_scaler_metrics_latency_seconds_count", &[])?;
            let all = sample(&samples, "windlass_scaler_metrics_latency_seconds_bucket", &[r#"le="+Inf""#])?;
            ensure!(count >= 3.0 && count == all, "{count} of {all}");
            ensure!(sample(&samples, "windlass_replicas_desired", &[ours])? == 3.0, "{samples:#?}");
            for name in ["windlass_internal_scale_loop_latency_seconds", "keda_internal_scale_loop_latency_seconds"] {
                ensure!(sample(&samples, name, &[r#"type="scaledobject",resource="web""#])? < 10.0, "{samples:#?}");
            }
            Ok(())
        })
        .await?;

        // The same name in KEDA's group, at another target; paused, so that the two can be told apart.
        let mut spec = rabbit_spec("other", &rabbit.amqp_url(), &queue, 10, 4);
        spec["triggers"][0]["name"] = "by-name".into();
        keda.scaled_object("web", &spec).await?;
        let annotations = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
        keda.scaled_objects().patch("web", &PatchParams::default(), &Patch::Merge(annotations)).await?;
        eventually(SOON, "both have series of their own", async || {
            let samples = scraped().await?;
            let paused = async |group| sample(&samples, "windlass_scaled_object_paused", &[group]);
            ensure!((paused(ours).await?, paused(theirs).await?) == (0.0, 1.0), "{samples:#?}");
            // KEDA's labels have no group: it is KEDA's object that is told of.
            ensure!(sample(&samples, "keda_scaled_object_paused", &[])? == 1.0, "{samples:#?}");
            sample(&samples, "keda_scaler_detail_errors_total", &[r#"scaler="by-name""#])?;
            sample(&samples, "windlass_scaler_metrics_value", &[theirs, r#"scaler="by-name""#])?;
            let registered =
                |prefix| sample(&samples, &format!("{prefix}_resource_registered_total"), &[r#"type="scaled_object""#]);
            ensure!((registered("windlass")?, registered("keda")?) == (2.0, 1.0), "{samples:#?}");
            Ok(())
        })
        .await?;

        // A trigger that is another one now leaves nothing behind either.
        spec["triggers"][0]["name"] = "renamed".into();
        keda.scaled_object("web", &spec).await?;
        eventually(SOON, "the trigger of before is gone", async || {
            let samples = scraped().await?;
            for prefix in ["windlass", "keda"] {
                sample(&samples, &format!("{prefix}_scaler_detail_errors_total"), &[r#"scaler="renamed""#])?;
            }
            ensure!(!samples.keys().any(|it| it.contains("by-name")), "{samples:#?}");
            Ok(())
        })
        .await?;

        keda.delete_scaled_object("web", SOON).await?;
        eventually(SOON, "the other one is told of alone", async || {
            let samples = scraped().await?;
            ensure!(!samples.keys().any(|it| it.contains(theirs) || it.contains("renamed")), "{samples:#?}");
            ensure!(sample(&samples, "windlass_scaler_metrics_value", &[ours])? == 25.0, "{samples:#?}");
            ensure!(sample(&samples, "keda_scaled_object_paused", &[])? == 0.0, "{samples:#?}");
            Ok(())
        })
        .await?;
        ns.delete_scaled_object("web", SOON).await?;
        eventually(SOON, "nothing is left", async || {
            let samples = scraped().await?;
            ensure!(samples.is_empty(), "{samples:#?}");
            Ok(())
        })
        .await
    });
}
