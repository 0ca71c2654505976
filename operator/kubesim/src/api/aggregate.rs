//! Aggregated APIs: a request for a group that an APIService names goes to whoever listens behind its Service. Only the
//! address of an EndpointSlice counts, as in a cluster whose aggregator routes by endpoints.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use serde_json::Value;
use tower::ServiceExt;

use super::cluster::Cluster;
use super::http::refusal;
use super::selector::Selector;
use super::status::Status;

/// Passes a request on; `None` where no APIService is responsible.
pub(super) async fn pass_on(
    cluster: &Cluster,
    user: &Arc<str>,
    group: &str,
    version: &str,
    request: Request<Bytes>,
) -> Option<Response<Body>> {
    let service = cluster.get(("apiregistration.k8s.io", "apiservices"), "", &format!("{version}.{group}"))?;
    let named = &service["spec"]["service"];
    let (namespace, name) = (named["namespace"].as_str()?, named["name"].as_str()?);
    let app = endpoint(cluster, namespace, name).and_then(|address| cluster.door(address));
    let Some(app) = app else {
        return Some(refusal(&Status::unavailable(
            "error trying to reach service: no endpoints available for service",
        )));
    };
    let (mut parts, body) = request.into_parts();
    if let Ok(user) = HeaderValue::from_str(user) {
        parts.headers.insert("x-remote-user", user);
    }
    // A router cannot fail.
    let Ok(response) = app.oneshot(Request::from_parts(parts, Body::from(body))).await;
    Some(response)
}

/// The first ready address behind a Service.
fn endpoint(cluster: &Cluster, namespace: &str, service: &str) -> Option<SocketAddr> {
    let selector = Selector::parse(&format!("kubernetes.io/service-name={service}"), "").ok()?;
    let slices = cluster.list(("discovery.k8s.io", "endpointslices"), Some(namespace), &selector);
    slices.iter().find_map(|slice| address(slice))
}

fn address(slice: &Value) -> Option<SocketAddr> {
    let port = u16::try_from(slice["ports"][0]["port"].as_u64()?).ok()?;
    let endpoints = slice["endpoints"].as_array()?.iter();
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false);
    let addresses = ready.filter_map(|endpoint| endpoint["addresses"][0].as_str()?.parse::<IpAddr>().ok());
    addresses.map(|address| SocketAddr::new(address, port)).next()
}
