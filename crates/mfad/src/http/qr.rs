//! Renders an otpauth URI as a QR code. The picture reveals the seed, so it is handled like a secret.

use std::fmt::Write;

use qrcode::render::unicode;
use qrcode::{Color, QrCode};

use data_encoding::BASE64;
use mfad_core::model::Sensitive;

/// Width of a module (one square of the code) in a PNG, in pixels.
const SCALE: usize = 4;
/// Width of the quiet zone around the code, in modules (ISO/IEC 18004 section 6.3.8).
const QUIET: usize = 4;

/// Format of a QR code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QrFormat {
    /// SVG document as text.
    Svg,
    /// PNG file in Base64.
    Png,
    /// Block characters for a terminal with a dark background.
    Text,
}

impl QrFormat {
    /// Parses the query parameter `qr`; `None` for an unknown format.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "svg" => Some(Self::Svg),
            "png" => Some(Self::Png),
            "text" => Some(Self::Text),
            _ => None,
        }
    }
}

/// Returns the text as a QR code; `None` if it is too long for one.
pub(super) fn render(text: &str, format: QrFormat) -> Option<Sensitive<String>> {
    let code = QrCode::new(text.as_bytes()).ok()?;
    let picture = match format {
        QrFormat::Svg => svg(&code)?,
        // Swapped, since characters are light on a dark background.
        QrFormat::Text => code
            .render::<unicode::Dense1x2>()
            .dark_color(unicode::Dense1x2::Light)
            .light_color(unicode::Dense1x2::Dark)
            .build(),
        QrFormat::Png => BASE64.encode(Sensitive::new(png(&code)?).expose()),
    };
    Some(Sensitive::new(picture))
}

/// Draws all horizontal runs of dark modules as one path. So the largest code stays below 128 KiB, a third of what one
/// square for each module would take.
fn svg(code: &QrCode) -> Option<String> {
    let width = code.width();
    let side = width.checked_add(QUIET.checked_mul(2)?)?;
    let pixels = side.checked_mul(SCALE)?.max(256);
    let mut path = String::new();
    for y in 0..width {
        let mut x = 0usize;
        while x < width {
            let run = (x..width).take_while(|x| code[(*x, y)] == Color::Dark).count();
            if run > 0 {
                let (left, top) = (x.checked_add(QUIET)?, y.checked_add(QUIET)?);
                write!(path, "M{left} {top}h{run}v1h-{run}z").ok()?;
            }
            x = x.checked_add(run.max(1))?;
        }
    }
    Some(format!(
        "<?xml version=\"1.0\" standalone=\"yes\"?>\
         <svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"{pixels}\" height=\"{pixels}\" \
         viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
         <path d=\"M0 0h{side}v{side}h-{side}z\" fill=\"#fff\"/><path d=\"{path}\" fill=\"#000\"/></svg>"
    ))
}

/// Encodes the code with one byte per pixel, black on white.
fn png(code: &QrCode) -> Option<Vec<u8>> {
    let width = code.width();
    let side = width.checked_add(QUIET.checked_mul(2)?)?.checked_mul(SCALE)?;
    let module = |pixel: usize| pixel.checked_div(SCALE)?.checked_sub(QUIET).filter(|at| *at < width);
    let rows = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
    let shades = rows.map(|(x, y)| match (module(x), module(y)) {
        (Some(x), Some(y)) if code[(x, y)] == Color::Dark => 0u8,
        _ => 255,
    });
    // The pixels encode the seed, so they are wiped.
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

    #[test]
    fn the_longest_uri_has_a_picture_of_every_kind_within_the_documented_size() {
        for (length, most) in [(1, 131_072), (1000, 131_072), (2047, 131_072), (2048, 131_072)] {
            let uri: String = "otpauth://%D0%AF%F0%9F%94%91".chars().cycle().take(length).collect();

            for format in [QrFormat::Svg, QrFormat::Png, QrFormat::Text] {
                let picture = render(&uri, format).expect("it fits");
                assert!(picture.expose().len() <= most, "{length} {format:?}: {}", picture.expose().len());
            }
        }
    }
}
