//! XML as a small tree: names without prefix, attributes, text. A document type is refused, so there are no entities but
//! the five that XML knows, and nothing is fetched or multiplied.

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::{Fault, Format};

/// The deepest nesting.
const DEEPEST: usize = 32;
/// Most elements. A file of 64 MiB with nothing but tags would take gigabytes of memory.
const MOST_ELEMENTS: usize = 2_000_000;

/// An element.
#[derive(Default)]
pub(crate) struct Element {
    /// The name without its prefix.
    pub(crate) name: String,
    attributes: Vec<(String, String)>,
    text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// The child of this name, which may be in lower case, as one program writes it.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name.eq_ignore_ascii_case(name))
    }

    /// The descendant along these names.
    pub(crate) fn at(&self, names: &[&str]) -> Option<&Self> {
        names.iter().try_fold(self, |element, name| element.child(name))
    }

    /// The text of the descendant along these names; `None` if it is empty.
    pub(crate) fn text(&self, names: &[&str]) -> Option<&str> {
        self.at(names).map(|element| element.text.trim()).filter(|text| !text.is_empty())
    }

    /// The value of an attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Parses a document into its root element. The error names the byte, never the content.
pub(crate) fn parse(bytes: &[u8], format: Format) -> Result<Element, Fault> {
    let damaged = |what: &str| Fault::Damaged(format, what.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8"))?;
    let mut reader = Reader::from_str(text);
    // The first is no element; the document goes into it.
    let mut open = vec![Element::default()];
    let mut elements = 0_usize;
    loop {
        let position = reader.buffer_position();
        let wrong = || Fault::Damaged(format, format!("no XML at byte {position}"));
        let event = reader.read_event().map_err(|_| wrong())?;
        if matches!(event, Event::Start(_) | Event::Empty(_)) {
            elements = elements.saturating_add(1);
            if elements > MOST_ELEMENTS {
                return Err(damaged("it has more than 2,000,000 elements; split it"));
            }
        }
        match event {
            Event::Start(start) if open.len() > DEEPEST => {
                drop(start);
                return Err(damaged("it is nested too deeply"));
            }
            Event::Start(start) => open.push(element(&start).ok_or_else(wrong)?),
            Event::Empty(start) => {
                let empty = element(&start).ok_or_else(wrong)?;
                open.last_mut().ok_or_else(wrong)?.children.push(empty);
            }
            Event::End(_) => {
                let closed = open.pop().filter(|_| !open.is_empty()).ok_or_else(wrong)?;
                open.last_mut().ok_or_else(wrong)?.children.push(closed);
            }
            Event::Text(piece) => open.last_mut().ok_or_else(wrong)?.text.push_str(&piece),
            Event::CData(piece) => open.last_mut().ok_or_else(wrong)?.text.push_str(&piece),
            Event::GeneralRef(reference) => {
                let letter = letter(&reference).ok_or_else(wrong)?;
                open.last_mut().ok_or_else(wrong)?.text.push(letter);
            }
            Event::DocType(_) => return Err(damaged("it has a document type, which is not read")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    let document = open.pop().filter(|_| open.is_empty()).ok_or_else(|| damaged("it ends in the middle"))?;
    document.children.into_iter().next().ok_or_else(|| damaged("it has no element"))
}

fn element(start: &BytesStart<'_>) -> Option<Element> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
        attributes.push((local(attribute.key.0), value.into_owned()));
    }
    Some(Element { name: local(start.name().0), attributes, ..Element::default() })
}

fn local(name: &str) -> String {
    name.rsplit(':').next().unwrap_or(name).to_owned()
}

/// One of the five entities of XML, or a character by its number.
fn letter(reference: &BytesRef<'_>) -> Option<char> {
    match &**reference {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => reference.resolve_char_ref().ok().flatten(),
    }
}
