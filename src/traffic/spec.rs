//! What users write under `spec.traffic.levers[]`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::tencent::spec::ConfirmByApiSpec;
use crate::workflow::span::{PATTERN, Span};

/// One way to take a pod out of the load balancer and put it back. Set exactly one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeverSpec {
    /// Tencent TKE: weights of pods by the annotation `service.cloud.tencent.com/lb-rs-weight` on Services of type
    /// `LoadBalancer` in direct access mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tke_service: Option<TkeServiceSpec>,
    /// Tencent TKE: the weight of each pod by the annotations `service.cloud.tencent.com/custom-weight` and
    /// `ingress.cloud.tencent.com/custom-weight` on the pod that runs, in direct access mode. Nothing is written on a
    /// Service. Tencent's page speaks of these annotations in pod templates; that a pod that runs may be given one, and
    /// that 0 is a value, is not documented: try it on a test cluster first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tke_pod: Option<TkePodSpec>,
    /// Huawei CCE Turbo: weights of pods by the annotation `kubernetes.io/elb.custom-backend-weights` on Services of type
    /// `LoadBalancer` with a dedicated load balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cce_service: Option<CceServiceSpec>,
    /// Every cluster: a label is taken off the pod, by which the Services select it. It also covers clients inside the
    /// cluster, beside a cloud's lever or alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_label: Option<PodLabelSpec>,
    /// Nothing is moved, for applications whose clients find their own way round a pod that goes. Stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub none: Option<NoneSpec>,
}

/// The lever `tkeService`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TkeServiceSpec {
    /// Names of the Services to write. Left out: every Service of type `LoadBalancer` in the namespace that selects
    /// the pods when the run begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub services: Vec<String>,
    /// Only for a controller that does not stamp its synchronisations on the Service (`sync-begin-time` and
    /// `sync-end-time`): a change counts as in force this long after it was written. Without stamps and without this
    /// value nothing confirms a change, and the run waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "span")]
    pub confirm_after: Option<Span>,
    /// Has Tencent's API say, too, that the load balancer sends nothing new to a detached pod. Both must say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by_api: Option<ConfirmByApiSpec>,
}

/// The lever `tkePod`. It covers every Service of type `LoadBalancer` that selects the pods, and those that are named here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TkePodSpec {
    /// Services that only an Ingress of TKE in direct access mode sends connections to. The operator does not read
    /// Ingresses, so it cannot tell which these are, nor when their load balancer has followed: it asks for `confirmAfter`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub ingress_services: Vec<String>,
    /// For what is in front of `ingressServices`, and for a controller that does not stamp its synchronisations on the
    /// Service: a change counts as in force this long after it was written. Where it is needed and not set, nothing
    /// confirms a change, and the run waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "span")]
    pub confirm_after: Option<Span>,
}

/// The lever `cceService`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CceServiceSpec {
    /// Names of the Services to write. Left out: every Service of type `LoadBalancer` in the namespace that selects
    /// the pods when the run begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub services: Vec<String>,
    /// A change counts as in force this long after it was written: nothing on the Service tells. Default 10s.
    #[serde(default = "ten_seconds")]
    #[schemars(schema_with = "ten_seconds_span")]
    pub confirm_after: Span,
}

impl Default for CceServiceSpec {
    fn default() -> Self {
        Self { services: Vec::new(), confirm_after: ten_seconds() }
    }
}

/// Huawei says within 5 seconds (`elb_faq_0125`).
fn ten_seconds() -> Span {
    Span::seconds(10)
}

/// The lever `podLabel`. The label stands in the pod template and in the selector of each Service that is to be
/// covered, never in the StatefulSet's selector nor in that of its governing headless Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodLabelSpec {
    /// Key of the label, for example `serving`.
    #[schemars(
        length(min = 1, max = 317),
        regex(pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
    )]
    pub key: String,
    /// Value of the label while the pod serves. Default `true`.
    #[serde(default = "yes")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub value: String,
}

fn yes() -> String {
    "true".to_owned()
}

/// The lever `none`. It has no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoneSpec {}

fn ten_seconds_span(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": PATTERN, "minLength": 1, "maxLength": 30, "default": "10s"})
}

/// A length of time as the API server checks it; the empty text fits the pattern and is no length.
fn span(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": PATTERN, "minLength": 1, "maxLength": 30})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_has_to_be_written_that_has_a_meaning_when_left_out() {
        let label = json!({"podLabel": {"key": "serving"}});
        let spec: LeverSpec = serde_json::from_value(label).unwrap();
        assert_eq!(spec.pod_label.map(|label| label.value).as_deref(), Some("true"));
        for text in [json!({"tkeService": {}}), json!({"tkePod": {}}), json!({"none": {}})] {
            let spec: LeverSpec = serde_json::from_value(text.clone()).unwrap();
            assert_eq!(serde_json::to_value(spec).unwrap(), text);
        }
        let schema = serde_json::to_string(&schemars::schema_for!(LeverSpec)).unwrap();
        let required = schema.matches("\"required\"").count();
        assert_eq!(schema.matches("\"maxLength\":30").count(), 3, "lengths of time: {schema}");
        assert_eq!(
            schema.matches("\"default\":\"10s\"").count(),
            1,
            "CCE says nothing, so it is a length of time: {schema}"
        );
        assert_eq!(required, 3, "only the label's key, and who asks Tencent's API, where: {schema}");
    }

    #[test]
    fn a_full_lever_reads_as_in_the_guide() {
        let api = json!({"region": "ap-guangzhou", "credentials": {"secret": "tencent"}});
        let text = json!({"tkeService": {"services": ["nginx"], "confirmAfter": "30s", "confirmByApi": api.clone()}});
        let spec: LeverSpec = serde_json::from_value(text).unwrap();
        let expected = TkeServiceSpec {
            services: vec!["nginx".into()],
            confirm_after: Some(Span::seconds(30)),
            confirm_by_api: Some(serde_json::from_value(api).unwrap()),
        };
        assert_eq!(spec, LeverSpec { tke_service: Some(expected), ..LeverSpec::default() });
    }
}
