//! YAML of other programs, as JSON values.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Fault, Format};

/// The most nodes of a document; each entry of a token has a dozen or two.
const MOST_NODES: usize = 20_000_000;
/// The most events of the parser: each map and list has one more, for its end.
const MOST_EVENTS: usize = 30_000_000;

/// Parses the only document of a text. The error names the line, never the content.
pub(crate) fn parse(bytes: &[u8], format: Format) -> Result<Value, Fault> {
    parse_as(bytes, format)
}

/// The same as a value of this type, so that a scalar can be read as the text that it is.
pub(crate) fn parse_as<T: DeserializeOwned>(bytes: &[u8], format: Format) -> Result<T, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Damaged(format, "it is not UTF-8".to_owned()))?;
    // The other limits hold what its references may copy, and how deep it is.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_events: MOST_EVENTS, max_nodes: MOST_NODES },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        Fault::Damaged(format, format!("no YAML that can be read at line {line}"))
    })
}
