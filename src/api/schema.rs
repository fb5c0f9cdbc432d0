//! How our own types look to the API server: bounded, so that its rules stay cheap.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::workflow::span::{PATTERN, Span};

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The pattern lets the empty text through; the length does not.
        json_schema!({"type": "string", "pattern": PATTERN, "minLength": 1, "maxLength": 30})
    }
}

/// A moment in time.
pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// A moment in time that may be absent.
pub(super) fn maybe_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "nullable": true})
}

/// A moment for each of some names in `CamelCase`.
pub(super) fn times(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "format": "date-time"}
    })
}

/// A whole number that is not negative.
pub(super) fn count(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 0, "maximum": 2_147_483_647})
}

/// A name in `CamelCase` from one of our closed lists. Not an enum here: a newer operator may know more.
pub(super) fn word(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 64})
}

/// A set of ordinals as ranges.
pub(super) fn ranges(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string"})
}

/// A number of pods or a percentage of the replicas.
pub(super) fn amount(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]})
}

/// The same where it may be left out.
pub(super) fn images(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 512}
    })
}
