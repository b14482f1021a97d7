//! Renders an otpauth URI as a QR code. The picture reveals the seed, so it is handled like a secret.

use std::fmt::Write;

use qrcode::{Color, EcLevel, QrCode};

use data_encoding::BASE64;
use mfad_core::model::Sensitive;
use mfad_core::oath::shortened;

/// Width of a module (one square of the code) in a PNG, in pixels.
const SCALE: usize = 4;
/// Width of the quiet zone around the code, in modules (ISO/IEC 18004 section 6.3.8).
const QUIET: usize = 4;
/// Width of the quiet zone where the full one would not fit a terminal. Readers cope with it.
const NARROW_QUIET: usize = 2;
/// The widest code, in modules, that has the full quiet zone in a terminal of 24 rows, with room for a prompt.
const WIDEST_WITH_QUIET: usize = 33;
/// The widest code with the narrow one.
const WIDEST: usize = 37;

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

/// Returns an otpauth URI as a QR code; `None` if it is too long for one.
pub(super) fn render(uri: &str, format: QrFormat) -> Option<Sensitive<String>> {
    let code = || QrCode::new(uri.as_bytes()).ok();
    let picture = match format {
        QrFormat::Svg => svg(&code()?)?,
        QrFormat::Text => text(&smallest(uri)?)?,
        QrFormat::Png => BASE64.encode(Sensitive::new(png(&code()?)?).expose()),
    };
    Some(Sensitive::new(picture))
}

/// The code of the shortest form of the URI, or of a longer one that also fits a terminal. A screen is not scratched
/// like a label, so the least error correction is enough.
fn smallest(uri: &str) -> Option<QrCode> {
    let code = |keeps_issuer| {
        let uri = shortened(uri, keeps_issuer);
        QrCode::with_error_correction_level(uri.expose().as_bytes(), EcLevel::L).ok()
    };
    code(true).filter(|code| code.width() <= WIDEST).or_else(|| code(false))
}

/// Draws two rows of modules as one line. Characters are light on a dark background, so light modules are drawn.
fn text(code: &QrCode) -> Option<String> {
    let quiet = if code.width() <= WIDEST_WITH_QUIET { QUIET } else { NARROW_QUIET };
    let side = code.width().checked_add(quiet.checked_mul(2)?)?;
    let is_light = |x: usize, y: usize| {
        let at = |place: usize| place.checked_sub(quiet).filter(|place| *place < code.width());
        at(x).zip(at(y)).is_none_or(|place| code[place] == Color::Light)
    };
    let mut picture = String::new();
    for y in (0..side).step_by(2) {
        if y > 0 {
            picture.push('\n');
        }
        let below = y.checked_add(1).filter(|y| *y < side);
        picture.extend((0..side).map(|x| match (is_light(x, y), below.is_some_and(|y| is_light(x, y))) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        }));
    }
    Some(picture)
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
    fn the_text_of_a_usual_uri_leaves_room_for_a_prompt_in_a_terminal_of_24_rows() {
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let usual = format!("otpauth://totp/mfad:alice?secret={secret}&issuer=mfad&algorithm=SHA1&digits=6&period=30");
        let long = format!(
            "otpauth://totp/Example%20Corp:alice%40example.org?secret={secret}&issuer=Example%20Corp\
             &algorithm=SHA1&digits=8&period=30"
        );

        for uri in [usual, long] {
            let picture = render(&uri, QrFormat::Text).unwrap();
            let lines: Vec<&str> = picture.expose().lines().collect();
            assert!(lines.len() <= 21, "{} lines for {uri}", lines.len());
            assert!(lines.iter().all(|line| line.chars().count() <= 80));
        }
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
