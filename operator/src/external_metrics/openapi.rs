//! The OpenAPI documents, versions 2 and 3, that the aggregator merges into the cluster's own. They describe the one
//! path and the one type there is, and refer to no type of another group, so that nothing can clash in the merge.

use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::Document;
use super::discovery::{GROUP, VERSION};

const JSON: &str = "application/json";
const LIST: &str = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1.ExternalMetricValueList";
const ITEM: &str = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1.ExternalMetricValue";
const METRIC_PATH: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}";

/// The OpenAPI documents, built once.
#[derive(Debug)]
pub struct OpenApi {
    v2: Document,
    v3_index: Document,
    v3: Document,
}

impl Default for OpenApi {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenApi {
    /// The documents.
    #[must_use]
    pub fn new() -> Self {
        let v3 = Document::new(JSON, &version_3());
        let path = "apis/external.metrics.k8s.io/v1beta1";
        let url = format!("/openapi/v3/{path}?hash={}", v3.etag().trim_matches('"'));
        let index = json!({"paths": {path: {"serverRelativeURL": url}}});
        Self { v2: Document::new(JSON, &version_2()), v3_index: Document::new(JSON, &index), v3 }
    }

    /// `/openapi/v2`.
    #[must_use]
    pub fn v2(&self, asked: &HeaderMap) -> Response {
        self.v2.answer(asked)
    }

    /// `/openapi/v3`: where the documents of version 3 are.
    #[must_use]
    pub fn v3_index(&self, asked: &HeaderMap) -> Response {
        self.v3_index.answer(asked)
    }

    /// `/openapi/v3/apis/external.metrics.k8s.io/v1beta1`.
    #[must_use]
    pub fn v3(&self, asked: &HeaderMap) -> Response {
        self.v3.answer(asked)
    }
}

fn gvk(kind: &str) -> Value {
    json!({"group": GROUP, "version": VERSION, "kind": kind})
}

/// The two types; `refs` is where the document keeps its types.
fn schemas(refs: &str) -> Value {
    let text = |what: &str| json!({"type": "string", "description": what});
    json!({
        LIST: {
            "type": "object",
            "description": "The values of one external metric.",
            "required": ["items"],
            "properties": {
                "apiVersion": text("The version of this representation."),
                "kind": text("ExternalMetricValueList."),
                "metadata": {"type": "object", "description": "Metadata of the list, empty here."},
                "items": {"type": "array", "description": "The values.", "items": {"$ref": format!("{refs}{ITEM}")}},
            },
            "x-kubernetes-group-version-kind": [gvk("ExternalMetricValueList")],
        },
        ITEM: {
            "type": "object",
            "description": "The value of one external metric at one time.",
            "required": ["metricName", "metricLabels", "timestamp", "value"],
            "properties": {
                "metricName": text("The name of the metric."),
                "metricLabels": {
                    "type": "object",
                    "description": "Labels that tell one series of the metric from others.",
                    "additionalProperties": {"type": "string"},
                },
                "timestamp": {"type": "string", "format": "date-time", "description": "When the source answered."},
                "window": {"type": "integer", "format": "int64", "description": "Seconds a rate was taken over."},
                "value": text("The value, a quantity."),
            },
        },
    })
}

fn parameter(name: &str, place: &str, what: &str) -> Value {
    json!({"name": name, "in": place, "required": place == "path", "description": what})
}

fn parameters() -> [Value; 3] {
    [
        parameter("namespace", "path", "Namespace of the scaled object."),
        parameter("metric", "path", "Name of the metric."),
        parameter("labelSelector", "query", "Names the scaled object: scaledobject.windlass.dev/name=<name>."),
    ]
}

fn operation(parameters: &[Value], responses: &Value) -> Value {
    json!({
        "get": {
            "operationId": "readExternalMetricsV1beta1NamespacedMetric",
            "description": "The value of an external metric of one scaled object.",
            "tags": ["externalMetrics_v1beta1"],
            "parameters": parameters,
            "responses": responses,
            "x-kubernetes-action": "get",
            "x-kubernetes-group-version-kind": gvk("ExternalMetricValueList"),
        },
    })
}

fn version_2() -> Value {
    let parameters = parameters().map(|mut parameter| {
        parameter["type"] = "string".into();
        parameter
    });
    let mut read = operation(
        &parameters,
        &json!({
            "200": {"description": "OK", "schema": {"$ref": format!("#/definitions/{LIST}")}},
            "401": {"description": "Unauthorized"},
        }),
    );
    read["get"]["produces"] = json!(["application/json"]);
    read["get"]["schemes"] = json!(["https"]);
    json!({
        "swagger": "2.0",
        "info": {"title": "Windlass external metrics", "version": VERSION},
        "paths": {METRIC_PATH: read},
        "definitions": schemas("#/definitions/"),
    })
}

fn version_3() -> Value {
    let parameters = parameters().map(|mut parameter| {
        parameter["schema"] = json!({"type": "string"});
        parameter
    });
    let content = json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{LIST}")}}});
    let read = operation(
        &parameters,
        &json!({"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}}),
    );
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Windlass external metrics", "version": VERSION},
        "paths": {METRIC_PATH: read},
        "components": {"schemas": schemas("#/components/schemas/")},
    })
}
