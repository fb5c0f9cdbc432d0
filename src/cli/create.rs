//! `create`: the YAML of a first object for a StatefulSet, with what can be worked out and comments for
//! what its owner has to decide.

use clap::Args;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::Answer;
use super::code::CliError;
use super::fetch::Cluster;
use crate::controller::observe;

/// Options of `create`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Nothing is written to the cluster:
  kubectl lu create web > web-upgrade.yaml    look at it, decide, then
  kubectl apply -f web-upgrade.yaml")]
pub struct CreateArgs {
    /// Name of the StatefulSet
    stateful_set: String,
    /// Name of the object [default: that of the StatefulSet]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Looks at the StatefulSet and its Services, and prints.
///
/// # Errors
/// No such StatefulSet, or no answer.
pub async fn run(cluster: &Cluster, args: &CreateArgs) -> Result<Answer, CliError> {
    let name = args.stateful_set.strip_prefix("statefulset/").unwrap_or(&args.stateful_set);
    let name = name.strip_prefix("sts/").unwrap_or(name);
    let set = cluster.set(name).await?.ok_or_else(|| CliError::NotFound {
        kind: "StatefulSet",
        resource: "statefulsets",
        name: name.to_owned(),
        namespace: cluster.namespace.clone(),
    })?;
    let services = observe::selecting(&cluster.client, &cluster.namespace, &set).await?;
    Ok(Answer::done(view(&set, &services, args.name.as_deref())))
}

/// The YAML. `services` are those that send connections to the pods.
pub fn view(set: &StatefulSet, services: &[Service], name: Option<&str>) -> String {
    let target = set.name_any();
    let name = name.unwrap_or(&target);
    let mut yaml = String::new();
    let mut line = |text: &str| {
        yaml.push_str(text);
        yaml.push('\n');
    };
    let spec = set.spec.as_ref();
    let strategy = spec.and_then(|spec| spec.update_strategy.as_ref()?.type_.as_deref());
    if strategy != Some("OnDelete") {
        line(
            "# First: a run may only begin with updateStrategy OnDelete, as Kubernetes replaces the pods itself otherwise:",
        );
        line(&format!(
            "#   kubectl patch statefulset {target} --type merge -p '{{\"spec\":{{\"updateStrategy\":{{\"type\":\"OnDelete\",\"rollingUpdate\":null}}}}}}'"
        ));
    }
    line("apiVersion: lossless-upgrade.io/v1alpha1");
    line("kind: LosslessUpgrade");
    line("metadata:");
    line(&format!("  name: {name}"));
    if let Some(namespace) = set.namespace() {
        line(&format!("  namespace: {namespace}"));
    }
    line("spec:");
    line(&format!("  targetRef: {{name: {target}}}"));
    line("  surge:");
    line(
        "    replicas: 1              # pods added for the length of a run: the canary, and the capacity of a batch",
    );
    let claims =
        spec.and_then(|spec| spec.volume_claim_templates.as_ref()).is_some_and(|claims| !claims.is_empty());
    if claims {
        line(
            "    # Decide: the StatefulSet has volumeClaimTemplates, so a surge pod brings a claim of its own. Keep: it",
        );
        line(
            "    # stays, and the next run's surge pod finds its old data. Not wanted? Then `replicas: 0` without `volumes`.",
        );
        line("    volumes: Keep");
    }
    line("  batches:");
    line("    size: 1                  # pods replaced together, or a percentage");
    traffic(set, services, &mut line);
    line("  drain:");
    line("    probes:");
    line(
        "      - socket: {threshold: 0} # counts the connections inside the pod, on the target ports of these Services",
    );
    for (service, ports) in
        services.iter().filter(|service| is_balanced(service)).map(|service| (service, ports(service)))
    {
        line(&format!("        # Service {}: {ports}", service.name_any()));
    }
    if on_host_network(set) {
        line(
            "      # The pods use the network of their node, where the socket probe would count the node's connections.",
        );
        line("      # Replace it by the http probe, for example:");
        line("      # - http: {port: 8081, path: /stub_status, format: NginxStubStatus}");
    }
    line("    timeout: 30m             # decide: how long may the last client of a pod take?");
    line("    onTimeout: Pause         # then: Pause, Proceed (replace it all the same) or Rollback");
    line("  verify:");
    line("    timeout: 10m             # from replacing a pod until it must be Ready");
    line("    soak: 30s                # decide: how long must a new pod stay good under traffic?");
    line("  onFailure: Rollback        # or Pause");
    yaml
}

fn traffic(set: &StatefulSet, services: &[Service], line: &mut impl FnMut(&str)) {
    let governing = set.spec.as_ref().and_then(|spec| spec.service_name.clone()).unwrap_or_default();
    let is_governing = |service: &Service| {
        let ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
        service.name_any() == governing && ip == Some("None")
    };
    let names = |wanted: &dyn Fn(&Service) -> bool| -> Vec<String> {
        services.iter().filter(|service| wanted(service)).map(ResourceExt::name_any).collect()
    };
    // One that knows pods needs no label, and may not have one.
    let knows_pods = |service: &&Service| is_balanced(service) && is_direct(service);
    let inside = |service: &&Service| !(is_governing(service) || knows_pods(service));
    let weighed: Vec<&Service> = services.iter().filter(knows_pods).collect();
    let label = own_label(set, services.iter().filter(inside), &weighed);
    let labelled = |service: &Service| label.as_ref().is_some_and(|(key, _)| selects_by(service, key));
    // A balancer that knows pods has weights for them; all others follow the label.
    let balanced: Vec<&Service> = services
        .iter()
        .filter(|service| is_balanced(service) && (is_direct(service) || !labelled(service)))
        .collect();
    let others = names(&|service| {
        !is_governing(service)
            && !labelled(service)
            && !balanced.iter().any(|one| one.name_any() == service.name_any())
    });
    line("  traffic:");
    line("    levers:");
    if let Some((key, value)) = &label {
        line(&format!(
            "      - podLabel: {{key: {key}, value: \"{value}\"}} # of {}",
            names(&labelled).join(", ")
        ));
    }
    if balanced.is_empty() && label.is_none() {
        line(
            "      # Decide: no Service selects the pods by a label of its own, so nothing can be moved. `none` is for work",
        );
        line(
            "      # whose clients find their own way round a pod that goes; else give the pods and the Services such a label",
        );
        line("      # and use `podLabel`.");
        line("      - none: {}");
    }
    for cloud in Cloud::ALL {
        let of_cloud: Vec<_> =
            balanced.iter().filter(|service| Cloud::of(service) == cloud).copied().collect();
        weights(cloud, &of_cloud, line);
    }
    if !others.is_empty() && (!balanced.is_empty() || label.is_some()) {
        line(
            "    # Decide: these Services send connections to the pods too, and no lever covers them, so a run does not begin.",
        );
        line(
            "    # List here those whose lost requests are acceptable (monitoring, for example); give the others the label of a",
        );
        line("    # `podLabel` lever.");
        line(&format!("    # ignoreServices: [{}]", others.join(", ")));
    }
    line("    settle: 5s               # after each confirmed change");
}

/// The lever that weighs the pods behind these Services, and what each lacks for it by its annotations.
fn weights(cloud: Cloud, services: &[&Service], line: &mut impl FnMut(&str)) {
    if services.is_empty() {
        return;
    }
    let names: Vec<_> = services.iter().map(|service| service.name_any()).collect();
    line(&format!("      - {}: {{services: [{}]}}", cloud.lever(), names.join(", ")));
    let (needs, value) = cloud.needs();
    for (service, name) in services.iter().zip(&names) {
        if !is_direct(service) {
            line(&format!(
                "        # Service {name} has no annotation {needs}: \"{value}\": weights of pods need it."
            ));
        }
        let there = |key: &&&str| service.annotations().contains_key(**key);
        for key in cloud.excludes().iter().filter(there) {
            line(&format!(
                "        # Service {name} has the annotation {key}: weights of pods cannot be combined with it."
            ));
        }
    }
    for text in cloud.unseen() {
        line(&format!("        # {text}"));
    }
}

/// A label of the template by which these Services select and the StatefulSet does not: it can be taken off a pod.
/// None of those that are weighed may select by it: two levers would cover them.
fn own_label<'a>(
    set: &StatefulSet,
    services: impl Iterator<Item = &'a Service>,
    weighed: &[&Service],
) -> Option<(String, String)> {
    let spec = set.spec.as_ref()?;
    let template = spec.template.metadata.as_ref()?.labels.as_ref()?;
    let keeps = spec.selector.match_labels.as_ref();
    let free = |key: &str| {
        keeps.is_none_or(|labels| !labels.contains_key(key))
            && !weighed.iter().any(|service| selects_by(service, key))
    };
    let mut selected =
        services.flat_map(|service| service.spec.iter().flat_map(|spec| spec.selector.iter().flatten()));
    let (key, value) = selected.find(|(key, value)| free(key) && template.get(*key) == Some(*value))?;
    Some((key.clone(), value.clone()))
}

fn selects_by(service: &Service, key: &str) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| selector.contains_key(key))
}

fn is_balanced(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
}

/// Whether its balancer knows the pods.
fn is_direct(service: &Service) -> bool {
    let (key, value) = Cloud::of(service).needs();
    service.annotations().get(key).is_some_and(|found| found == value)
}

/// Whose load balancer a Service asks for, of those that have weights for pods.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cloud {
    Tencent,
    Huawei,
}

impl Cloud {
    const ALL: [Self; 2] = [Self::Tencent, Self::Huawei];

    /// Huawei's annotations have names of their own; a Service without any of them is taken for one of Tencent's.
    fn of(service: &Service) -> Self {
        let is_huawei = service.annotations().keys().any(|key| key.starts_with("kubernetes.io/elb."));
        if is_huawei { Self::Huawei } else { Self::Tencent }
    }

    const fn lever(self) -> &'static str {
        match self {
            Self::Tencent => "tkeService",
            Self::Huawei => "cceService",
        }
    }

    /// The annotation without which its balancer does not know the pods.
    const fn needs(self) -> (&'static str, &'static str) {
        match self {
            Self::Tencent => ("service.cloud.tencent.com/direct-access", "true"),
            Self::Huawei => ("kubernetes.io/elb.class", "performance"),
        }
    }

    /// Annotations that exclude weights of pods.
    const fn excludes(self) -> &'static [&'static str] {
        match self {
            Self::Tencent => &[],
            Self::Huawei => {
                &["kubernetes.io/elb.adaptive-weight", "kubernetes.io/elb.multicluster-loadbalancer-weight"]
            }
        }
    }

    /// What nothing on the Service shows.
    const fn unseen(self) -> &'static [&'static str] {
        match self {
            Self::Tencent => &[],
            Self::Huawei => &[
                "Decide: has the backend server group a deregistration delay, longer than `drain.timeout` below? Without one",
                "Huawei's load balancer cuts the connections of a pod at once when its weight becomes 0.",
                "CCE Turbo in newer releases only: `kubectl lu lint` says of the release, where the API server names it.",
            ],
        }
    }
}

fn ports(service: &Service) -> String {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).map(|port| {
        let target = match &port.target_port {
            Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(number)) => {
                number.to_string()
            }
            Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(name)) => name.clone(),
            None => port.port.to_string(),
        };
        format!("{} -> {target}", port.port)
    });
    ports.collect::<Vec<_>>().join(", ")
}

fn on_host_network(set: &StatefulSet) -> bool {
    let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.and_then(|pod| pod.host_network).unwrap_or_default()
}
