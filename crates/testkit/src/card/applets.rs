//! The applets of virtual keys, by their names, and which keys have them.

use super::model::Model;

/// The applets of the virtual key. It has no FIDO or OpenPGP applet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applet {
    Management,
    Oath,
    Otp,
    Piv,
    /// The admin applet of a CanoKey.
    CanoKeyAdmin,
    /// The rescue applet of pico-fido.
    PicoRescue,
}

impl Applet {
    pub(super) fn named(aid: &[u8]) -> Option<Self> {
        match aid {
            [0xA0, 0x00, 0x00, 0x05, 0x27, 0x47, 0x11, 0x17] => Some(Self::Management),
            [0xA0, 0x00, 0x00, 0x05, 0x27, 0x21, 0x01] => Some(Self::Oath),
            // With or without the version after the name.
            [0xA0, 0x00, 0x00, 0x05, 0x27, 0x20, 0x01] | [0xA0, 0x00, 0x00, 0x05, 0x27, 0x20, 0x01, 0x01] => {
                Some(Self::Otp)
            }
            // A partial name is enough (SP 800-73-4 part 2, section 3.1.1).
            [0xA0, 0x00, 0x00, 0x03, 0x08, ..] => Some(Self::Piv),
            [0xF0, 0x00, 0x00, 0x00, 0x00] => Some(Self::CanoKeyAdmin),
            [0xA0, 0x58, 0x3F, 0xC1, 0x9B, 0x7E, 0x4F, 0x21] => Some(Self::PicoRescue),
            _ => None,
        }
    }

    /// Whether keys of this model have the applet.
    pub(super) fn is_on(self, model: Model) -> bool {
        match self {
            Self::Oath => true,
            Self::Management => matches!(model, Model::YubiKey | Model::Pico),
            Self::Otp | Self::Piv => model == Model::YubiKey,
            Self::CanoKeyAdmin => model == Model::CanoKey,
            Self::PicoRescue => model == Model::Pico,
        }
    }

    /// The instruction that fetches the rest of a long response.
    pub(super) fn send_remaining(self, model: Model) -> u8 {
        if self == Self::Oath { model.send_remaining() } else { 0xC0 }
    }
}
