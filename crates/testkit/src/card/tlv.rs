//! BER-TLV as the YubiKey's applets use it: tags of one byte, lengths of one to three.

/// Encodes one value with its tag and length.
pub(super) fn one(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, tag, value);
    out
}

/// Appends tag, length and value.
pub(super) fn push(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    match value.len() {
        length @ 0..=0x7F => out.push(length as u8),
        length @ 0x80..=0xFF => out.extend([0x81, length as u8]),
        length => {
            out.push(0x82);
            out.extend(u16::try_from(length).expect("no applet has so long a value").to_be_bytes());
        }
    }
    out.extend(value);
}

/// Takes the first element off; `None` if it is incomplete or there is none.
pub(super) fn take<'a>(data: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let whole: &'a [u8] = data;
    let (length, rest) = match *whole.get(1)? {
        short @ 0..=0x7F => (usize::from(short), whole.get(2..)?),
        0x81 => (usize::from(*whole.get(2)?), whole.get(3..)?),
        0x82 => (usize::from(u16::from_be_bytes([*whole.get(2)?, *whole.get(3)?])), whole.get(4..)?),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    *data = rest;
    Some((*whole.first()?, value))
}

/// Takes the first element off if it has this tag; otherwise `None`, and nothing is taken.
pub(super) fn take_tagged<'a>(data: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let mut rest: &'a [u8] = data;
    let (found, value) = take(&mut rest)?;
    if found != tag {
        return None;
    }
    *data = rest;
    Some(value)
}

/// Parses all elements; `None` if bytes are left that form no element.
pub(super) fn parse(mut data: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut elements = Vec::new();
    while !data.is_empty() {
        elements.push(take(&mut data)?);
    }
    Some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_read_as_it_was_written() {
        for length in [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF] {
            let value = vec![0x5A; length];

            let written = one(0x71, &value);

            assert_eq!(parse(&written), Some(vec![(0x71, value.as_slice())]), "{length} bytes");
        }
    }

    #[test]
    fn half_an_element_is_none() {
        let written = one(0x71, b"name");

        assert_eq!(parse(&written[..written.len() - 1]), None);
        assert_eq!(parse(&[0x71]), None);
        assert_eq!(parse(&[0x71, 0x80]), None);
    }
}
