//! ISO 7816-4 command APDUs as values, wiped on drop. Knows no applet.

use zeroize::Zeroizing;

use mfad_core::model::Sensitive;

use super::CardFault;

/// A command of class 0x00 with up to 255 bytes of data.
pub(crate) struct Command {
    pub(crate) instruction: u8,
    pub(crate) p1: u8,
    pub(crate) p2: u8,
    data: Zeroizing<Vec<u8>>,
}

impl Command {
    /// Capacity for the longest data, so that the buffer never grows and leaves no copies behind.
    const ROOM: usize = 256;

    pub(crate) fn new(instruction: u8, p1: u8, p2: u8) -> Self {
        Self { instruction, p1, p2, data: Zeroizing::new(Vec::with_capacity(Self::ROOM)) }
    }

    /// Builds SELECT by application identifier (ISO 7816-4 section 11.1.1).
    pub(crate) fn select(application: &[u8]) -> Self {
        let mut command = Self::new(0xa4, 0x04, 0x00);
        command.data.extend_from_slice(application);
        command
    }

    /// Appends a tag, a length and a value. One length byte is enough, since values here have at most 127 bytes.
    pub(crate) fn tlv(mut self, tag: u8, value: &[u8]) -> Self {
        self.data.push(tag);
        self.data.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        self.data.extend_from_slice(value);
        self
    }

    /// Appends bytes that have no tag and length.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.data.extend_from_slice(bytes);
        self
    }

    /// Returns the bytes to send: CLA INS P1 P2, then Lc and data if there are any, then Le 0x00 for all that is
    /// available.
    pub(crate) fn bytes(&self) -> Result<Sensitive<Vec<u8>>, CardFault> {
        let length = u8::try_from(self.data.len()).map_err(|_| CardFault::Unsupported("too much for one command"))?;
        let mut bytes = Vec::with_capacity(Self::ROOM.saturating_add(8));
        bytes.extend_from_slice(&[0x00, self.instruction, self.p1, self.p2]);
        // A command without data has no Lc.
        if length > 0 {
            bytes.push(length);
            bytes.extend_from_slice(&self.data);
        }
        bytes.push(0x00);
        Ok(Sensitive::new(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_laid_out_as_iso_7816_4_says() {
        let command = Command::new(0x01, 0x02, 0x03).tlv(0x71, b"ab").raw(&[0x78, 0x02]);

        assert_eq!(command.bytes().unwrap().expose(), &[0, 1, 2, 3, 6, 0x71, 2, b'a', b'b', 0x78, 2, 0]);
        assert_eq!(Command::new(0xa1, 0, 0).bytes().unwrap().expose(), &[0, 0xa1, 0, 0, 0]);
        assert!(Command::new(1, 0, 0).raw(&[0; 256]).bytes().is_err());
    }
}
