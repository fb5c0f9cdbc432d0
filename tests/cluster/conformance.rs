//! What the operator relies on in an API server, on the real one. `tests/faults.rs` plays the same
//! checks on the fake one.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use lab::scenario::Stage;
use libtest_mimic::Failed;

use crate::checks::{CHECKS, Ground};

pub fn real(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let namespace = "conformance";
        let object =
            format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{namespace}"}}}}"#);
        stage.apply("default", &object)?;
        for (claim, check) in CHECKS {
            println!("    {claim}");
            check(Ground { client: stage.cluster().client(), namespace: namespace.to_owned() }).await;
        }
        Ok(())
    }
    .boxed_local()
}
