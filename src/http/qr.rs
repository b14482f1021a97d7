//! The otpauth URI as a picture.

use qrcode::render::{svg, unicode};
use qrcode::{Color, QrCode};

use crate::model::Sensitive;

use super::wire::base64;

/// Pixels of a module's side in a PNG.
const SCALE: usize = 4;
/// Modules of white around the code (ISO/IEC 18004 section 6.3.8).
const QUIET: usize = 4;

/// What the picture is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QrFormat {
    /// An SVG document.
    Svg,
    /// A PNG file in Base64.
    Png,
    /// Block characters for a terminal with a dark background.
    Text,
}

impl QrFormat {
    /// Reads the query parameter.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "svg" => Some(Self::Svg),
            "png" => Some(Self::Png),
            "text" => Some(Self::Text),
            _ => None,
        }
    }
}

/// Draws it; `None` if the text is too long for any code.
pub fn render(text: &str, format: QrFormat) -> Option<Sensitive<String>> {
    let code = QrCode::new(text.as_bytes()).ok()?;
    let picture = match format {
        QrFormat::Svg => code.render::<svg::Color<'_>>().min_dimensions(256, 256).build(),
        QrFormat::Text => code
            .render::<unicode::Dense1x2>()
            .dark_color(unicode::Dense1x2::Light)
            .light_color(unicode::Dense1x2::Dark)
            .build(),
        QrFormat::Png => base64(Sensitive::new(png(&code)?).expose()),
    };
    Some(Sensitive::new(picture))
}

/// One byte a pixel, black on white.
fn png(code: &QrCode) -> Option<Vec<u8>> {
    let width = code.width();
    let side = width.checked_add(QUIET.checked_mul(2)?)?.checked_mul(SCALE)?;
    let module = |pixel: usize| pixel.checked_div(SCALE)?.checked_sub(QUIET).filter(|at| *at < width);
    let rows = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
    let shades = rows.map(|(x, y)| match (module(x), module(y)) {
        (Some(x), Some(y)) if code[(x, y)] == Color::Dark => 0u8,
        _ => 255,
    });
    let pixels = Sensitive::new(shades.collect::<Vec<u8>>());
    let mut file = Vec::new();
    let side = u32::try_from(side).ok()?;
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(pixels.expose()).ok()?;
    writer.finish().ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_what_it_says() {
        let uri = "otpauth://totp/mfad:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

        assert!(render(uri, QrFormat::Svg).unwrap().expose().contains("<svg"));
        assert!(render(uri, QrFormat::Png).unwrap().expose().starts_with("iVBORw0KGgo"));
        assert!(render(uri, QrFormat::Text).unwrap().expose().lines().count() > 15);
        assert!(render(&"a".repeat(5000), QrFormat::Svg).is_none());
    }
}
