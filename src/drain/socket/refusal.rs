//! The API server's "no" to a drain counter, as what is wrong and what to do about it.

use kube::Error;

use crate::drain::Refusal;

/// What this failure of the patch means. It is lasting only when the server has decided on the
/// container itself; all else is to be looked at again.
pub(super) fn of(namespace: &str, problem: &Error) -> Refusal {
    let Error::Api(status) = problem else {
        return passing(format!("the API server does not answer about the drain counter: {problem}"));
    };
    let message = &status.message;
    // Pod security, quota, webhooks and missing rights all answer 403; only their words differ.
    // Words that are not known here still get the server's own message and a way out.
    match status.code {
        403 if message.contains("violates PodSecurity") => Refusal::lasting(
            format!("the pod security of namespace {namespace} refuses the drain counter: {message}"),
            "make the pods themselves meet the enforced level (the counter meets the restricted one), or use the http probe",
        ),
        403 if message.contains("exceeded quota") => Refusal::lasting(
            format!("a quota of namespace {namespace} refuses the drain counter: {message}"),
            "raise the quota, or use the http probe",
        ),
        403 if message.contains("cannot patch resource") => Refusal::lasting(
            format!("the operator has no right to start the drain counter: {message}"),
            "grant it `patch` on pods/ephemeralcontainers (the manifests have a role for it), or use the http probe",
        ),
        400 | 403 => Refusal::lasting(
            format!("admission in namespace {namespace} refuses the drain counter: {message}"),
            "except the counter's image from that rule, or use the http probe",
        ),
        // A wrong uid is 422 too: then the pod is another one by now, and nothing is decided.
        422 if !message.contains("metadata.uid") => Refusal::lasting(
            format!("the API server does not accept the drain counter: {message}"),
            "check the operator's --counter-image, or use the http probe",
        ),
        _ => passing(format!("the drain counter is not decided on: {message}")),
    }
}

fn passing(what: String) -> Refusal {
    Refusal { what, fix: "it is tried again".to_owned(), passing: true }
}
