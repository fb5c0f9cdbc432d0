//! What may be wrong with a question to Tencent's API: what, where, and what to do. The codes are those of
//! <https://cloud.tencent.com/document/api/214/30670> and `/248/30354`.

use super::Action;
use crate::web::secret::SecretProblem;

/// Why there is no answer. Whatever it is, nothing is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No credentials.
    #[error("{0}; {fix}", fix = .0.fix())]
    Secret(#[from] SecretProblem),
    /// No client.
    #[error("{0}; this is a defect of the operator")]
    Tls(String),
    /// Nobody there, or no whole answer.
    #[error(
        "{host} does not answer: {why}; see that the operator may connect to it, or name another endpoint (--tencent-endpoint)"
    )]
    NoAnswer {
        /// Who was asked.
        host: String,
        /// What happened.
        why: String,
    },
    /// It takes too long.
    #[error("Tencent's API gave no whole answer within {seconds} s; it is asked again")]
    Late {
        /// How long it was waited for.
        seconds: u64,
    },
    /// The end is missing.
    #[error("the answer to {name} is cut off; it is asked again", name = .0.name())]
    CutOff(Action),
    /// Something else answers.
    #[error(
        "the answer to {name} is not of the documented form; see that the endpoint is Tencent's (--tencent-endpoint)",
        name = .0.name()
    )]
    NotThis(Action),
    /// Tencent says that something is wrong.
    #[error("Tencent's API answers {name} with {code}", name = action.name(), code = code.told(*action))]
    Refused {
        /// What was asked.
        action: Action,
        /// What is wrong.
        code: Code,
    },
}

/// `Response.Error.Code`, as far as it makes a difference to what the user is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// `RequestLimitExceeded`: too many questions.
    Throttled,
    /// `AuthFailure.SignatureExpire`: the clocks are more than five minutes apart.
    SignatureExpired,
    /// `AuthFailure.UnauthorizedOperation`, `UnauthorizedOperation`: the right is missing.
    Unauthorized,
    /// The rest of `AuthFailure`: an unknown id, a wrong key, a token that is over.
    Credentials(String),
    /// `InvalidParameter.DimensionGroupError`: there are no such numbers. Says nothing about connections.
    Dimensions,
    /// `InvalidParameter`, `ResourceNotFound` and the like: not here, or not in this region.
    NotHere(String),
    /// `InternalError`, `FailedOperation`: Tencent's own trouble.
    Theirs(String),
    /// Anything else.
    Other(String),
}

impl Code {
    pub(super) fn of(code: &str) -> Self {
        // It goes into messages: only what looks like a code does.
        let plain =
            code.len() <= 100 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
        if !plain || code.is_empty() {
            return Self::Other("a code that is none".to_owned());
        }
        let text = code.to_owned();
        match code.split_once('.').unwrap_or((code, "")) {
            ("RequestLimitExceeded", _) => Self::Throttled,
            ("AuthFailure", "SignatureExpire") => Self::SignatureExpired,
            ("AuthFailure", "UnauthorizedOperation") | ("UnauthorizedOperation", _) => Self::Unauthorized,
            ("AuthFailure", _) => Self::Credentials(text),
            ("InvalidParameter", "DimensionGroupError") => Self::Dimensions,
            ("InvalidParameter" | "InvalidParameterValue" | "ResourceNotFound" | "UnsupportedRegion", _) => {
                Self::NotHere(text)
            }
            ("InternalError" | "FailedOperation" | "ResourceUnavailable", _) => Self::Theirs(text),
            _ => Self::Other(text),
        }
    }

    /// The code, and what to do.
    fn told(&self, action: Action) -> String {
        match self {
            Self::Throttled => "RequestLimitExceeded: too many questions of this account at once; it is asked again".to_owned(),
            Self::SignatureExpired => "AuthFailure.SignatureExpire: the operator's clock is more than five minutes off; correct the clock of its node".to_owned(),
            Self::Unauthorized => format!("UnauthorizedOperation: allow {} to the account of the Secret in CAM", action.right()),
            Self::Credentials(code) => format!("{code}: correct secretId, secretKey or token in the Secret"),
            Self::Dimensions => "InvalidParameter.DimensionGroupError: there are no numbers of single backends of this load balancer. This probe is not usable here; use another one".to_owned(),
            Self::NotHere(code) => format!("{code}: correct the region, the load balancer or its address in the spec"),
            Self::Theirs(code) => format!("{code}: trouble on Tencent's side; it is asked again"),
            Self::Other(code) => format!("{code}: look it up among the error codes of the API"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        for (code, said) in [
            ("RequestLimitExceeded", "it is asked again"),
            ("RequestLimitExceeded.UinLimitExceeded", "it is asked again"),
            ("AuthFailure.SignatureExpire", "clock"),
            ("AuthFailure.UnauthorizedOperation", "allow monitor:GetMonitorData"),
            ("UnauthorizedOperation.CamNoAuth", "allow monitor:GetMonitorData"),
            ("AuthFailure.SecretIdNotFound", "correct secretId"),
            ("AuthFailure.SignatureFailure", "correct secretId"),
            ("AuthFailure.TokenFailure", "token in the Secret"),
            ("InvalidParameter.DimensionGroupError", "not usable here"),
            ("InvalidParameterValue.Length", "correct the region"),
            ("ResourceNotFound", "correct the region"),
            ("InternalError", "Tencent's side"),
            ("NoSuchVersion", "NoSuchVersion: look it up"),
            ("AKID secret\nkey", "a code that is none"),
            ("", "a code that is none"),
        ] {
            let told = Problem::Refused { action: Action::GetMonitorData, code: Code::of(code) }.to_string();
            assert!(told.contains(said) && !told.contains('\n'), "{code}: {told}");
        }
        assert!(Code::of(&"x".repeat(101)).told(Action::DescribeTargets).contains("a code that is none"));
    }
}
