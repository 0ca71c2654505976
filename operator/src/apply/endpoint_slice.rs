//! The EndpointSlice of the metrics Service: it names the leader alone, so that metric requests reach nobody else. It is
//! written only when it differs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::Api;
use kube::api::ObjectMeta;
use tokio::time::timeout;

use super::writer::{WriteError, Writer};

/// The Service and its one EndpointSlice.
const NAME: &str = "windlass-metrics";
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGER_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "windlass";
/// The name of the port in the Service.
const PORT_NAME: &str = "https";
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// Makes `address`:`port` the one endpoint of the metrics Service in `namespace`. For the leader, after it has taken the
/// lead; safe to repeat, and a repetition that finds nothing to change writes nothing.
///
/// # Errors
/// See [`WriteError`]. On a conflict (409) somebody else has just written: call again.
pub async fn publish(writer: &Writer, namespace: &str, address: IpAddr, port: u16) -> Result<(), WriteError> {
    let api: Api<EndpointSlice> = Api::namespaced(writer.client().clone(), namespace);
    let wanted = desired(namespace, address, port);
    let found = timeout(READ_DEADLINE, api.get_opt(NAME)).await.map_err(|_| WriteError::Deadline(READ_DEADLINE))??;
    if let Some(found) = found {
        if is_same(&found, &wanted) {
            return Ok(());
        }
        // The address type of a slice cannot be changed.
        if found.address_type != wanted.address_type {
            let uid = found.metadata.uid.unwrap_or_default();
            writer.delete(&api, NAME, &uid).await?;
        }
    }
    writer.apply::<EndpointSlice>(&api, NAME, &wanted).await?;
    Ok(())
}

fn desired(namespace: &str, address: IpAddr, port: u16) -> EndpointSlice {
    let labels = [(SERVICE_LABEL, NAME), (MANAGER_LABEL, MANAGER)];
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        address_type: if address.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
        endpoints: vec![Endpoint {
            addresses: vec![address.to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), serving: Some(true), terminating: Some(false) }),
            ..Endpoint::default()
        }],
        ports: Some(vec![EndpointPort {
            name: Some(PORT_NAME.to_owned()),
            port: Some(i32::from(port)),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

/// Whether `found` sends requests where `wanted` does; labels and annotations of others do not count.
fn is_same(found: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let none = BTreeMap::new();
    let labels = found.metadata.labels.as_ref().unwrap_or(&none);
    found.address_type == wanted.address_type
        && found.endpoints == wanted.endpoints
        && found.ports == wanted.ports
        && wanted.metadata.labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::Instant;

    use super::publish;
    use crate::apply::writer::{WriteError, Writer};
    use crate::certificates::fake::FakeApi;
    use crate::leadership::leadership;

    const PATH: &str = "/apis/discovery.k8s.io/v1/namespaces/windlass-system/endpointslices/windlass-metrics";
    const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const SIXTH: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));

    #[tokio::test]
    async fn the_slice_names_the_leader_and_is_written_only_when_it_differs() {
        let (api, client) = FakeApi::new();
        let (grant, leadership) = leadership();
        let writer = Writer::fenced(client, leadership, Duration::from_secs(5));
        let refused = publish(&writer, "windlass-system", FIRST, 6443).await;
        assert!(matches!(refused, Err(WriteError::NotLeader)));
        grant.extend(Instant::now() + Duration::from_secs(3600));
        let writes = |api: &std::sync::Mutex<FakeApi>| {
            let writes = std::mem::take(&mut api.lock().unwrap().writes);
            writes.into_iter().map(|(method, _)| method.to_string()).collect::<Vec<_>>()
        };
        for (address, port, wanted) in [
            (FIRST, 6443, vec!["PATCH"]),
            (FIRST, 6443, vec![]),
            (SECOND, 6443, vec!["PATCH"]),
            (SECOND, 443, vec!["PATCH"]),
            (SIXTH, 443, vec!["DELETE", "PATCH"]),
            (SIXTH, 443, vec![]),
        ] {
            publish(&writer, "windlass-system", address, port).await.unwrap();
            assert_eq!(writes(&api), wanted, "{address}:{port}");
        }
        let slice = api.lock().unwrap().get(PATH).unwrap().clone();
        assert_eq!(slice["addressType"], "IPv6");
        assert_eq!(slice["endpoints"][0]["addresses"], json!(["fd00::1"]));
        assert_eq!(slice["ports"], json!([{"name": "https", "port": 443, "protocol": "TCP"}]));
        assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "windlass-metrics");

        let mut foreign = slice;
        foreign["metadata"]["labels"]["kubernetes.io/service-name"] = "other".into();
        foreign["metadata"]["labels"]["team"] = "a".into();
        api.lock().unwrap().put(PATH, foreign);
        publish(&writer, "windlass-system", SIXTH, 443).await.unwrap();
        assert_eq!(writes(&api), ["PATCH"]);
        publish(&writer, "windlass-system", SIXTH, 443).await.unwrap();
        assert!(writes(&api).is_empty(), "labels of others do not count");
    }
}
