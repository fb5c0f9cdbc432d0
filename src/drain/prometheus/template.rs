//! PromQL in which a pod is put. What is put in stays inside the quotes that it stands in, whatever it is.

use std::fmt::Write as _;

use crate::drain::PodTarget;

/// The longest PromQL that is asked, in bytes.
const LONGEST: usize = 8192;

/// What can be put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Pod,
    PodIp,
    Namespace,
    Ordinal,
    Node,
}

/// The table of their names.
const NAMES: [(&str, Placeholder); 5] = [
    ("pod", Placeholder::Pod),
    ("podIP", Placeholder::PodIp),
    ("namespace", Placeholder::Namespace),
    ("ordinal", Placeholder::Ordinal),
    ("node", Placeholder::Node),
];

impl Placeholder {
    /// Whether no two pods of a StatefulSet have the same.
    fn tells_pods_apart(self) -> bool {
        match self {
            Self::Pod | Self::PodIp | Self::Ordinal => true,
            Self::Namespace | Self::Node => false,
        }
    }

    fn value(self, pod: &PodTarget) -> Result<String, &'static str> {
        match self {
            Self::Pod => Ok(pod.name.clone()),
            Self::PodIp => pod.ip.map(|ip| ip.to_string()).ok_or("the pod has no address"),
            Self::Namespace => Ok(pod.namespace.clone()),
            Self::Ordinal => Ok(pod.ordinal.to_string()),
            Self::Node => pod.node.clone().ok_or("the pod is on no node"),
        }
    }
}

/// Why a text is no PromQL to put a pod in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A placeholder that nobody knows.
    #[error(
        "`{{{{{0}}}}}` is not known; known are {{{{pod}}}}, {{{{podIP}}}}, {{{{ordinal}}}}, {{{{namespace}}}} and {{{{node}}}}"
    )]
    Unknown(String),
    /// `{{` without `}}`.
    #[error("`{{{{` has no `}}}}`")]
    Unclosed,
    /// A placeholder where nothing can be escaped.
    #[error("`{{{{{0}}}}}` does not stand in \"quotes\" or 'quotes'")]
    Unquoted(String),
    /// A string without an end.
    #[error("a quoted text has no end")]
    Endless,
    /// All pods would get the same answer.
    #[error(
        "it does not say which pod it is about: write {{{{pod}}}}, {{{{podIP}}}} or {{{{ordinal}}}} into it, in quotes"
    )]
    OfNoPod,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value { what: Placeholder, quote: char },
}

/// Where in PromQL a character stands.
#[derive(Clone, Copy)]
enum Place {
    Code,
    /// In a string with escapes, between these quotes.
    Quoted(char),
    /// In a string without escapes, between backquotes.
    Raw,
    Comment,
}

/// PromQL with placeholders, each of them in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

impl Template {
    /// Reads it as PromQL does, as far as strings and comments go.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut place = Place::Code;
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("{{") {
                let (name, after) = after.split_once("}}").ok_or(Fault::Unclosed)?;
                let known = NAMES.iter().find(|(known, _)| *known == name);
                let (_, what) = *known.ok_or_else(|| Fault::Unknown(name.to_owned()))?;
                let Place::Quoted(quote) = place else { return Err(Fault::Unquoted(name.to_owned())) };
                pieces.extend([Piece::Text(std::mem::take(&mut plain)), Piece::Value { what, quote }]);
                rest = after;
                continue;
            }
            plain.push(character);
            rest = &rest[character.len_utf8()..];
            place = match (place, character) {
                (Place::Code, '"' | '\'') => Place::Quoted(character),
                (Place::Code, '`') => Place::Raw,
                (Place::Code, '#') => Place::Comment,
                (Place::Quoted(quote), _) if character == quote => Place::Code,
                (Place::Quoted(_), '\n') => return Err(Fault::Endless),
                (Place::Quoted(_), '\\') => {
                    let escaped = rest.chars().next().ok_or(Fault::Endless)?;
                    plain.push(escaped);
                    rest = &rest[escaped.len_utf8()..];
                    place
                }
                (Place::Raw, '`') | (Place::Comment, '\n' | '\r') => Place::Code,
                (Place::Code | Place::Quoted(_) | Place::Raw | Place::Comment, _) => place,
            };
        }
        match place {
            Place::Code | Place::Comment => {}
            Place::Quoted(_) | Place::Raw => return Err(Fault::Endless),
        }
        pieces.push(Piece::Text(plain));
        let of_a_pod = |piece: &Piece| matches!(piece, Piece::Value { what, .. } if what.tells_pods_apart());
        if pieces.iter().any(of_a_pod) { Ok(Self(pieces)) } else { Err(Fault::OfNoPod) }
    }

    /// The PromQL for this pod.
    ///
    /// # Errors
    /// What the pod has not got, or that it is too long.
    pub fn render(&self, pod: &PodTarget) -> Result<String, String> {
        let mut promql = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => promql.push_str(text),
                Piece::Value { what, quote } => escape(&what.value(pod)?, *quote, &mut promql),
            }
            if promql.len() > LONGEST {
                return Err(format!("it is longer than {LONGEST} bytes"));
            }
        }
        Ok(promql)
    }
}

/// The value as it is written between these quotes: PromQL has the escapes of Go, where another quote than the own one
/// must not be escaped.
fn escape(value: &str, quote: char, promql: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => promql.push_str("\\\\"),
            same if same == quote => promql.extend(['\\', same]),
            control if control.is_control() => {
                // Writing to a String does not fail.
                let _ = write!(promql, "\\u{:04x}", u32::from(control));
            }
            other => promql.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::drain::contract::pod;

    fn rendered(text: &str) -> String {
        Template::parse(text).unwrap().render(&pod()).unwrap()
    }

    #[test]
    fn the_pod_is_put_where_it_is_named() {
        assert_eq!(rendered(r#"sum(conns{pod="{{pod}}"})"#), r#"sum(conns{pod="nginx-0"})"#);
        assert_eq!(
            rendered(r#"a{i=~'{{podIP}}:.*',n="{{namespace}}",o="{{ordinal}}",h="{{node}}"}"#),
            r#"a{i=~'127.0.0.1:.*',n="shop",o="0",h="node-a"}"#
        );
        assert_eq!(rendered("a{b=`\\`,c=\"\\\"{{pod}}\"} # it's"), "a{b=`\\`,c=\"\\\"nginx-0\"} # it's");
    }

    #[test]
    fn what_is_not_known_or_not_in_quotes_is_refused() {
        let fault = |text: &str| Template::parse(text).unwrap_err();
        assert_eq!(fault(r#"a{b="{{Pod}}"}"#), Fault::Unknown("Pod".to_owned()));
        assert_eq!(fault(r#"a{b="{{pod}}",c="{{ node }}"}"#), Fault::Unknown(" node ".to_owned()));
        assert_eq!(fault(r#"a{b="{{pod"}"#), Fault::Unclosed);
        for text in ["{{pod}}", "a{b=`{{pod}}`}", "a # {{pod}}", "a{b='x'}[{{pod}}]"] {
            assert_eq!(fault(text), Fault::Unquoted("pod".to_owned()), "{text}");
        }
        for text in [r#"a{b="{{pod}}}"#, "a{b='{{pod}}\n'}", "a{b=`x", r#"a{b="{{pod}}\"#] {
            assert_eq!(fault(text), Fault::Endless, "{text}");
        }
    }

    #[test]
    fn what_would_be_the_same_for_all_pods_is_refused() {
        for text in ["sum(conns)", r#"conns{pod="web-0"}"#, r#"conns{ns="{{namespace}}",node="{{node}}"}"#] {
            assert_eq!(Template::parse(text), Err(Fault::OfNoPod), "{text}");
        }
        assert!(Fault::OfNoPod.to_string().contains("{{pod}}, {{podIP}} or {{ordinal}}"));
        assert!(
            Fault::Unknown("x".to_owned()).to_string().starts_with("`{{x}}` is not known; known are {{pod}}")
        );
    }

    #[test]
    fn a_pod_without_what_is_asked_for_and_a_text_that_becomes_too_long_are_refused() {
        let template = Template::parse(r#"a{b="{{podIP}}"}"#).unwrap();
        assert!(template.render(&PodTarget { ip: None, ..pod() }).unwrap_err().contains("no address"));
        let template = Template::parse(r#"a{b="{{pod}}",c="{{node}}"}"#).unwrap();
        assert!(template.render(&PodTarget { node: None, ..pod() }).unwrap_err().contains("no node"));
        let long = PodTarget { name: "x".repeat(LONGEST), ..pod() };
        assert!(Template::parse(r#"a{b="{{pod}}"}"#).unwrap().render(&long).unwrap_err().contains("longer"));
    }

    /// A string as Prometheus reads it, from its opening quote: the text, and what follows the closing one.
    fn unquoted(promql: &str) -> Option<(String, &str)> {
        let quote = promql.chars().next()?;
        let mut text = String::new();
        let mut rest = &promql[1..];
        loop {
            let character = rest.chars().next()?;
            rest = &rest[character.len_utf8()..];
            match character {
                _ if character == quote => return Some((text, rest)),
                '\n' => return None,
                '\\' => match rest.chars().next()? {
                    'u' => {
                        text.push(char::from_u32(u32::from_str_radix(rest.get(1..5)?, 16).ok()?)?);
                        rest = &rest[5..];
                    }
                    escaped if escaped == '\\' || escaped == quote => {
                        text.push(escaped);
                        rest = &rest[1..];
                    }
                    _ => return None,
                },
                _ => text.push(character),
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_a_pod_is_called_its_name_stays_in_its_string(name in any::<String>(), single in any::<bool>()) {
            let quote = if single { '\'' } else { '"' };
            let template = Template::parse(&format!("{quote}{{{{pod}}}}{quote}}} or vector(0)")).unwrap();
            let promql = template.render(&PodTarget { name: name.clone(), ..pod() }).unwrap();
            prop_assert_eq!(unquoted(&promql), Some((name, "} or vector(0)")));
        }

        #[test]
        fn the_names_that_break_strings_do_not_break_these(name in "['\"`\\\\\n\r#{}u0]{0,12}") {
            for quote in ['\'', '"'] {
                let template = Template::parse(&format!("{quote}{{{{pod}}}}{quote}}}")).unwrap();
                let promql = template.render(&PodTarget { name: name.clone(), ..pod() }).unwrap();
                prop_assert_eq!(unquoted(&promql), Some((name.clone(), "}")));
            }
        }

        #[test]
        fn any_text_is_a_template_or_refused(text in "[a\"'`#\n\\\\{}pod]{0,24}") {
            if let Ok(template) = Template::parse(&text) {
                prop_assert_eq!(template.render(&PodTarget { name: "p".to_owned(), ..pod() }), Ok(text.replace("{{pod}}", "p")));
            }
        }
    }
}
