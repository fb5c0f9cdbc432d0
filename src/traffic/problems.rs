//! What is wrong with a Service or a spec: where, what, and what to do.

use super::{LeverKind, Malformed};

/// What keeps a lever from working. Found in preflight, nothing is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No Service was named and none fits.
    #[error(
        "no Service of type LoadBalancer selects the pods of StatefulSet {set}; name one in the lever's `services`"
    )]
    NoService {
        /// The StatefulSet.
        set: String,
    },
    /// Nothing on TKE reads the weight of the pods.
    #[error(
        "no Service of type LoadBalancer selects the pods of StatefulSet {set}, and `ingressServices` of the lever tkePod names none behind an Ingress: nothing would follow the weight of a pod. Name those, or use another lever"
    )]
    NoBalancer {
        /// The StatefulSet.
        set: String,
    },
    /// A new pod would come without connections.
    #[error(
        "the pod template of StatefulSet {set} has the annotation {key} with the value 0, so a new pod would get no connections; remove it"
    )]
    OutByTemplate {
        /// The annotation.
        key: &'static str,
        /// The StatefulSet.
        set: String,
    },
    /// A named Service is not there.
    #[error(
        "Service {service} does not exist in this namespace; make it, or take its name out of spec.traffic.levers"
    )]
    Missing {
        /// Its name.
        service: String,
    },
    /// A Service that is going away.
    #[error(
        "Service {service} is being deleted; wait until it is gone, or make it again, before the next version is set"
    )]
    BeingDeleted {
        /// Its name.
        service: String,
    },
    /// A named Service sends its traffic elsewhere.
    #[error(
        "Service {service} does not select the pods of StatefulSet {set}; compare its selector with the labels of the pod template"
    )]
    DoesNotSelect {
        /// Its name.
        service: String,
        /// The StatefulSet.
        set: String,
    },
    /// A Service without a cloud load balancer.
    #[error(
        "Service {service} is of type {is}, and this lever needs LoadBalancer; take it out of the lever's `services`, or use the lever podLabel for it"
    )]
    NotLoadBalancer {
        /// Its name.
        service: String,
        /// Its type.
        is: String,
    },
    /// A Service with nothing to weigh.
    #[error(
        "Service {service} has no ports, so there is nothing to weigh; take it out of the lever's `services`"
    )]
    NoPorts {
        /// Its name.
        service: String,
    },
    /// The cloud's controller leaves the Service alone.
    #[error(
        "annotation {key}=skip on Service {service} tells the cloud's controller to leave it alone, so weights would have no effect; remove it, or name the lever's `services` without this one"
    )]
    Skipped {
        /// Its name.
        service: String,
        /// The annotation.
        key: &'static str,
    },
    /// Two ways of weighing that exclude each other.
    #[error("annotation {key} on {on} cannot be combined with {with}; remove one of the two")]
    Conflict {
        /// What carries the annotation.
        on: String,
        /// The annotation in the way.
        key: &'static str,
        /// The annotation that the lever writes.
        with: &'static str,
    },
    /// A label that is Kubernetes' own.
    #[error("label {label} is Kubernetes' own; use another one in the lever podLabel")]
    LabelReserved {
        /// Key and value.
        label: String,
    },
    /// Taking the label off would cost the StatefulSet its pod.
    #[error(
        "label {label} is in the selector of StatefulSet {set}: without it the pod would be let go. Use a label in the lever podLabel that is in the pod template only"
    )]
    LabelInSelector {
        /// Key and value.
        label: String,
        /// The StatefulSet.
        set: String,
    },
    /// A new pod would come without the label.
    #[error(
        "the pod template of StatefulSet {set} has no label {label}, so a new pod would get no connections; add it to the template, and to the pods that run (`kubectl label pod`)"
    )]
    LabelNotInTemplate {
        /// Key and value.
        label: String,
        /// The StatefulSet.
        set: String,
    },
    /// Taking the label off would cost the pod its name.
    #[error(
        "the governing headless Service {service} selects by the label {label}: without it a pod would lose its DNS name. Take the label out of its selector"
    )]
    LabelInGoverning {
        /// Key and value.
        label: String,
        /// The Service.
        service: String,
    },
    /// No connection depends on the label.
    #[error(
        "no Service that selects the pods of StatefulSet {set} selects by the label {label}; add it to the selectors of the Services"
    )]
    LabelUnused {
        /// Key and value.
        label: String,
        /// The StatefulSet.
        set: String,
    },
    /// A pod does not serve before the run.
    #[error(
        "{held}, so it is not known whether it is to serve; put it back, or delete the pod if it serves nobody"
    )]
    NotAttached {
        /// Lever and pods.
        held: String,
    },
    /// Without it the cloud has no weights of pods.
    #[error(
        "Service {service} needs the annotation {key}: {value}, without which its cloud has no weights of pods"
    )]
    NeedsAnnotation {
        /// The Service's name.
        service: String,
        /// The annotation.
        key: &'static str,
        /// Its value.
        value: &'static str,
    },
    /// The cloud reads what the lever writes in newer releases only.
    #[error(
        "this cluster is {found}, by the version that its API server tells, and Huawei CCE reads the annotation {key} in these releases and later ones of their lines: {needed}. Upgrade the cluster, or use the lever podLabel"
    )]
    ReleaseTooOld {
        /// The version of the cluster.
        found: String,
        /// The annotation.
        key: &'static str,
        /// The first release of each line that reads it.
        needed: String,
    },
    /// The cloud's controller reads what the lever writes in newer versions only.
    #[error(
        "TKE's {controller} controller is {found}, by ConfigMap {config} in kube-system, and reads the annotation {key} from {needed} on. Upgrade it; for Services of type LoadBalancer there is also the lever tkeService"
    )]
    ControllerTooOld {
        /// Which of the controllers.
        controller: &'static str,
        /// Its version.
        found: String,
        /// Where that stands.
        config: &'static str,
        /// The annotation.
        key: &'static str,
        /// The first version that reads it.
        needed: String,
    },
    /// The annotation that the lever would write holds something it does not understand.
    #[error("annotation {key} on Service {service} cannot be merged into: {why}; correct or remove it")]
    Malformed {
        /// The Service's name.
        service: String,
        /// The annotation.
        key: &'static str,
        /// What is wrong with it.
        why: Malformed,
    },
}

/// What a user should know about a Service that a lever will write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Sticky clients may come back to a detached pod.
    #[error(
        "Service {service} has sessionAffinity ClientIP: known clients may reach a detached pod anew, and its drain then waits for them"
    )]
    SessionAffinity {
        /// The Service's name.
        service: String,
    },
    /// A setting of the load balancer that nothing in the cluster shows.
    #[error(
        "Service {service}: without a deregistration delay on its backend server group Huawei's load balancer cuts the connections of a pod at once when its weight becomes 0; see that it is on, and longer than drain.timeout"
    )]
    CutsWithoutDelay {
        /// The Service's name.
        service: String,
    },
    /// What its API server says of the cluster does not tell which release of the cloud it is.
    #[error(
        "the API server's version, {found}, names no release of Huawei CCE, which reads the annotation {key} in these releases and later ones of their lines: {needed}. See in the console that the cluster is such a one"
    )]
    ReleaseUnknown {
        /// What the API server said.
        found: String,
        /// The annotation.
        key: &'static str,
        /// The first release of each line that reads it.
        needed: String,
    },
    /// Weight 0 on a pod that runs, which Tencent's page does not speak of.
    #[error(
        "Tencent documents {key} for weights in a pod template, in direct access mode; that it is followed on a pod that runs, and as 0, is not documented. Try it on a test cluster first"
    )]
    LivePodWeight {
        /// The annotation.
        key: &'static str,
    },
    /// Nothing tells whether the cloud's controller is new enough.
    #[error(
        "TKE's {controller} controller reads the annotation {key} from {needed} on, and which version it is, is not known: {why}. Look yourself: kubectl -n kube-system get configmap {config} -o jsonpath='{{.data.VERSION}}'"
    )]
    ControllerUnknown {
        /// Which of the controllers.
        controller: &'static str,
        /// Why its version is not known.
        why: String,
        /// Where it should stand.
        config: &'static str,
        /// The annotation.
        key: &'static str,
        /// The first version that reads it.
        needed: String,
    },
    /// Traffic may come before a pod is Ready.
    #[error("Service {service} has publishNotReadyAddresses: a new pod may get requests before it is Ready")]
    NotReadyAddresses {
        /// The Service's name.
        service: String,
    },
    /// Nothing yet shows that the controller tells when it has synchronised.
    #[error(
        "Service {service} has no stamps of a synchronisation yet; if its controller never writes them, set `confirmAfter` on the lever"
    )]
    NoStamps {
        /// The Service's name.
        service: String,
    },
}

/// A list of levers that the API server should have refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecProblem {
    /// An empty list.
    #[error("spec.traffic.levers is empty; name at least one lever, or `none: {{}}`")]
    Empty,
    /// An item without a member.
    #[error("an item of spec.traffic.levers names no lever; set exactly one of {}", LeverKind::names())]
    NoMember,
    /// An item with more than one.
    #[error("an item of spec.traffic.levers names several levers; make one item of each")]
    SeveralMembers,
    /// `none` beside others.
    #[error("`none` in spec.traffic.levers stands alone; remove it or the other levers")]
    NoneNotAlone,
    /// Two weights for one pod, and nobody says which one counts.
    #[error(
        "tkeService and tkePod in spec.traffic.levers exclude each other: which of the two weights counts is not documented; remove one of them"
    )]
    TwoWeights,
}
