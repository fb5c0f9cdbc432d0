//! A command in a container of a pod, run through the API server: started, waited for, heard out. No
//! more of what it prints is kept than is asked for, and the connection is closed whatever happens.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use kube::{Api, Client, Error};
use tokio::io::{AsyncRead, AsyncReadExt, copy, sink};

use crate::drain::PodTarget;

/// Kept of what a command says on its standard error; all else of it is read and let go.
const COMPLAINT: u64 = 1024;
/// Of that so many characters are told.
const TOLD: usize = 200;
/// Between the connection and who reads.
const BUFFER: usize = 64 * 1024;

/// What a command that ended with exit status 0 has printed.
#[derive(Debug)]
pub(in crate::drain) struct Output {
    /// Its standard output, whole.
    pub stdout: Vec<u8>,
    /// The first line of its standard error, cut short; none: it had nothing to complain about.
    pub complaint: Option<String>,
}

/// Runs the command and waits for its end, without a bound on the time: who gives it up drops this,
/// which closes the connection. The command itself may run on in the container then.
///
/// # Errors
/// Why it was not run, or that it ended with another exit status than 0, printed more than `most` bytes,
/// or lost the connection before its exit status was known.
pub(in crate::drain) async fn run(
    client: &Client,
    pod: &PodTarget,
    container: &str,
    command: &[String],
    most: usize,
) -> Result<Output, String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let params = AttachParams::default().container(container).max_stdout_buf_size(BUFFER);
    // Its drop ends its task and closes the connection.
    let mut process = pods.exec(&pod.name, command, &params).await.map_err(|problem| refused(&problem))?;
    let (Some(stdout), Some(stderr), Some(status)) =
        (process.stdout(), process.stderr(), process.take_status())
    else {
        return Err("the command was started without its output".to_owned());
    };
    // A connection that breaks leaves the two streams open without an end: only the status tells of it.
    let status = async { status.await.ok_or_else(|| "the connection ended before the command".to_owned()) };
    let (stdout, complaint, status) = tokio::try_join!(whole(stdout, most), complaint(stderr), status)?;
    match failure(&status) {
        None => Ok(Output { stdout, complaint }),
        Some(how) => Err(complaint.map_or_else(|| how.clone(), |complaint| format!("{how}: {complaint}"))),
    }
}

async fn whole(stream: impl AsyncRead + Unpin, most: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    // One byte more, to see that there is more.
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    stream.take(bound).read_to_end(&mut bytes).await.map_err(|problem| problem.to_string())?;
    if bytes.len() > most { Err(format!("the command printed more than {most} bytes")) } else { Ok(bytes) }
}

async fn complaint(mut stream: impl AsyncRead + Unpin) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    (&mut stream).take(COMPLAINT).read_to_end(&mut bytes).await.map_err(|problem| problem.to_string())?;
    // Left unread, it would hold up the standard output, which comes by the same connection.
    copy(&mut stream, &mut sink()).await.map_err(|problem| problem.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find(|line| !line.trim().is_empty());
    let told = line.map(|line| line.chars().filter(|c| !c.is_control()).take(TOLD).collect());
    // Blank or not, something was said.
    Ok(told.or_else(|| (!bytes.is_empty()).then(|| "blank lines".to_owned())))
}

/// How a command failed, by the status that ends it (`k8s.io/apimachinery`, `remotecommand`): Success, or
/// a Failure with the exit status among its causes, or one of who was to run it.
fn failure(status: &Status) -> Option<String> {
    if status.status.as_deref() == Some("Success") {
        return None;
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let mut codes = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    Some(match codes.find_map(|cause| cause.message.as_deref()) {
        Some(code) => format!("the command ended with exit status {code}"),
        None => {
            format!("the command was not run: {}", status.message.as_deref().unwrap_or("no reason given"))
        }
    })
}

fn refused(problem: &Error) -> String {
    match problem {
        Error::Api(status) if status.code == 403 => format!(
            "the operator has no right to run commands in pods: {}; grant it `get` and `create` on pods/exec (the manifests have a role for it)",
            status.message
        ),
        Error::Api(status) => format!("the API server does not run the command: {}", status.message),
        other => format!("the command cannot be started: {other}"),
    }
}
