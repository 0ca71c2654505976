//! Kafka: a broker with plain and encrypted listeners, one of them behind a proxy that the cluster believes to be itself.

use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use windlass_tests::kdc::{READER, REALM};
use windlass_tests::{Broker, Kafka, Kdc, Mode, run_within, shared};

use super::cases::{Cases, LONG, OUTAGE, SOON, case};
use crate::workers::{BACKLOG, FULL, Workers};

/// Megabytes of heap: enough for a few topics.
const HEAP: u32 = 128;

fn trigger(servers: &str, topic: &str) -> Value {
    json!({"type": "kafka", "metadata":
        {"bootstrapServers": servers, "consumerGroup": topic, "topic": topic, "lagThreshold": "10"}})
}

/// A trigger that logs in by Kerberos, with the keytab as the Secret holds a file: bytes.
async fn by_ticket(cases: &Cases, kafka: &Kafka, kdc: &Kdc) -> anyhow::Result<Value> {
    let keytab = kdc.keytab()?;
    ensure!(std::str::from_utf8(&keytab).is_err(), "the keytab happens to be text");
    let mut secret = Secret {
        data: Some([("keytab".to_owned(), ByteString(keytab))].into()),
        string_data: Some([("krb5.conf".to_owned(), kdc.conf()?)].into()),
        ..Secret::default()
    };
    secret.metadata.name = Some("ticket".to_owned());
    cases.ns.create_object(&secret).await?;
    let reference = |parameter: &str, key: &str| json!({"parameter": parameter, "name": "ticket", "key": key});
    let references = [reference("keytab", "keytab"), reference("kerberosConfig", "krb5.conf")];
    cases
        .ns
        .apply(json!({"apiVersion": "windlass.dev/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": {"name": "ticket"}, "spec": {"secretTargetRef": references}}))
        .await?;
    let mut trigger = trigger(&kafka.kerberos(), "ticket");
    for (key, value) in [("sasl", "gssapi"), ("username", READER), ("realm", REALM)] {
        trigger["metadata"][key] = value.into();
    }
    trigger["authenticationRef"] = json!({"name": "ticket"});
    Ok(trigger)
}

#[test]
fn kafka_is_followed_whatever_happens_to_it() {
    run_within(LONG, async {
        let start = async {
            let kdc = Kdc::start().await?;
            Ok((Kafka::start_beside(HEAP, Some(&kdc)).await?, kdc))
        };
        let (_, (mut kafka, kdc)) = tokio::try_join!(shared(), start)?;
        let cases = Cases::start("kafka").await?;
        for topic in ["plain", "login", "ticket", "proxied", "vanishes", "empties"] {
            kafka.declare(topic).await?;
            kafka.publish(topic, BACKLOG).await?;
        }
        kafka.declare("idle").await?;

        let (user, password) = (windlass_tests::kafka::USER, windlass_tests::kafka::PASSWORD);
        cases.login("login", &[("username", user), ("password", password), ("ca", &kafka.ca_pem()?)]).await?;
        let mut login = trigger(&kafka.login_tls(), "login");
        login["metadata"]["tls"] = "enable".into();
        login["metadata"]["sasl"] = "scram_sha512".into();
        login["authenticationRef"] = json!({"name": "login"});
        let ticket = by_ticket(&cases, &kafka, &kdc).await?;
        let plain = kafka.plain();
        cases.beside(&case("idle", &trigger(&plain, "idle"))).await?;
        cases.beside(&case("late", &trigger(&plain, "late"))).await?;
        let all = vec![
            case("plain", &trigger(&plain, "plain")),
            case("empties", &trigger(&plain, "empties")),
            case("vanishes", &trigger(&plain, "vanishes")),
            case("proxied", &trigger(&kafka.proxied(), "proxied")),
            case("login", &login),
            case("ticket", &ticket),
        ];
        let workers = Workers::start_in(cases.ns.clone(), all).await?;
        cases.is_idle("idle").await?;
        cases.is_absent("late", "there is no topic \"late\"").await?;
        kafka.declare("late").await?;
        kafka.publish("late", BACKLOG).await?;
        workers.log.wait_spec("late", FULL, SOON).await?;

        kafka.proxy.set(Mode::Garbage);
        cases.rotate("login", "password", "wr0ng-secret").await?;
        kafka.delete("vanishes").await?;
        let says = [
            ("proxied", "does not speak Kafka's protocol"),
            ("login", "refused the credentials of user \"rig\""),
            ("vanishes", "there is no topic \"vanishes\""),
        ];
        workers.endure_as(&says, OUTAGE).await?;
        anyhow::ensure!(!cases.shared.operator.log().contains("wr0ng"), "a credential is in the log");

        cases.rotate("login", "password", password).await?;
        kafka.proxy.set(Mode::Delay(Duration::from_millis(150)));
        let empty = async || kafka.take("proxied", BACKLOG).await.map(drop);
        cases.follows(&workers, "proxied", empty, async || kafka.publish("proxied", BACKLOG).await).await?;
        cases.ns.wait_condition("login", "Ready", "True", SOON).await?;

        let empty = async |kafka: &Kafka| kafka.take("empties", BACKLOG).await.map(drop);
        cases.outages(&mut kafka, &workers, &["plain", "login", "ticket"], empty).await
    });
}
