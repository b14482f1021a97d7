//! Tag, length and value, the encoding of applet responses. A response that does not add up is refused as a whole
//! (HW-6).

use super::CardFault;

/// One value with its tag, borrowed from the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: u8,
    pub(crate) value: &'a [u8],
}

const NONSENSE: CardFault = CardFault::Nonsense("a value ends too early");

/// Returns all values of a response in order. A length has one byte, or 0x81 and one byte, or 0x82 and two bytes.
pub(crate) fn parse(mut bytes: &[u8]) -> Result<Vec<Tlv<'_>>, CardFault> {
    let mut found = Vec::new();
    while let Some((tag, rest)) = bytes.split_first() {
        let (length, rest) = length(rest)?;
        let (value, rest) = rest.split_at_checked(length).ok_or(NONSENSE)?;
        found.push(Tlv { tag: *tag, value });
        bytes = rest;
    }
    Ok(found)
}

fn length(bytes: &[u8]) -> Result<(usize, &[u8]), CardFault> {
    let (first, rest) = bytes.split_first().ok_or(NONSENSE)?;
    match first {
        0x00..=0x7f => Ok((usize::from(*first), rest)),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest)).ok_or(NONSENSE),
        0x82 => rest
            .split_first_chunk::<2>()
            .map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))
            .ok_or(NONSENSE),
        // An indefinite length, or one of more than two bytes.
        _ => Err(CardFault::Nonsense("a length of an unknown form")),
    }
}

/// Returns the value of a response that must consist of this one tag.
pub(crate) fn only(bytes: &[u8], tag: u8) -> Result<&[u8], CardFault> {
    match parse(bytes)?.as_slice() {
        [one] if one.tag == tag => Ok(one.value),
        _ => Err(CardFault::Nonsense("another value than the one asked for")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_read_in_order() {
        let long = [&[0x72, 0x81, 0x80][..], &[7; 0x80], &[0x73, 0x00, 0x74, 0x82, 0x00, 0x01, 0x09]].concat();

        let found = parse(&long).unwrap();

        assert_eq!(
            found.iter().map(|t| (t.tag, t.value.len())).collect::<Vec<_>>(),
            [(0x72, 128), (0x73, 0), (0x74, 1)]
        );
        assert_eq!(only(&[0x75, 1, 5], 0x75), Ok(&[5u8][..]));
        assert!(only(&[0x75, 1, 5, 0x75, 0], 0x75).is_err() && only(&[0x76, 1, 5], 0x75).is_err());
    }

    #[test]
    fn what_ends_too_early_is_refused() {
        for odd in [&[0x71][..], &[0x71, 2, 1], &[0x71, 0x81], &[0x71, 0x82, 0], &[0x71, 0x80], &[0x71, 0x83, 0, 0, 0]]
        {
            assert!(parse(odd).is_err(), "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn hw_6_no_answer_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&bytes);
        }
    }
}
