//! The texts of the QR codes in a picture (PNG).

use png::{ColorType, Decoder, Limits, Transformations};

use crate::{Fault, Format};

const FORMAT: Format = Format::Picture;
const MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The most pixels of a picture. A hostile one could claim any number, and the search takes a copy for each candidate.
const MOST_PIXELS: u64 = 4_000_000;

/// Whether the file is a PNG.
pub(crate) fn is(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The texts of all QR codes, one in each line.
pub(crate) fn texts(bytes: &[u8]) -> Result<String, Fault> {
    let picture = Picture::decode(bytes)
        .ok_or_else(|| damaged("it cannot be decoded, or has more than 4 million pixels; cut the QR code out"))?;
    let at = |x, y| picture.at(x, y);
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(picture.width, picture.height, at);
    let grids = prepared.detect_grids();
    if grids.is_empty() {
        return Err(damaged("there is no QR code in it"));
    }
    let mut texts = String::new();
    for grid in grids {
        let (_, text) = grid.decode().map_err(|_| damaged("a QR code in it cannot be read"))?;
        texts.push_str(text.trim());
        texts.push('\n');
    }
    Ok(texts)
}

fn damaged(what: &str) -> Fault {
    Fault::Damaged(FORMAT, what.to_owned())
}

/// A picture in shades of grey.
struct Picture {
    width: usize,
    height: usize,
    grey: Vec<u8>,
}

impl Picture {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut decoder = Decoder::new_with_limits(std::io::Cursor::new(bytes), Limits { bytes: 1 << 28 });
        decoder.set_transformations(Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().ok()?;
        let info = reader.info();
        let (width, height) = (info.width, info.height);
        if u64::from(width).checked_mul(u64::from(height))? > MOST_PIXELS {
            return None;
        }
        let mut pixels = vec![0; reader.output_buffer_size()?];
        let frame = reader.next_frame(&mut pixels).ok()?;
        let pixels = pixels.get(..frame.buffer_size())?;
        let shade = |pixel: &[u8]| -> u8 {
            // The background of a transparent picture is white.
            let (colours, alpha) = match (frame.color_type, pixel) {
                (ColorType::GrayscaleAlpha, [grey, alpha]) => (u32::from(*grey), u32::from(*alpha)),
                (ColorType::Rgba, [red, green, blue, alpha]) => (mean(*red, *green, *blue), u32::from(*alpha)),
                (ColorType::Rgb, [red, green, blue]) => (mean(*red, *green, *blue), 255),
                (_, [grey]) => (u32::from(*grey), 255),
                _ => (255, 255),
            };
            let inked = 255_u32.saturating_sub(colours).saturating_mul(alpha).checked_div(255).unwrap_or(0);
            u8::try_from(255_u32.saturating_sub(inked)).unwrap_or(255)
        };
        let grey = pixels.chunks_exact(frame.color_type.samples()).map(shade).collect();
        Some(Self { width: usize::try_from(width).ok()?, height: usize::try_from(height).ok()?, grey })
    }

    /// The shade of a point; white outside.
    fn at(&self, x: usize, y: usize) -> u8 {
        let index = y.checked_mul(self.width).and_then(|start| start.checked_add(x));
        index.and_then(|index| self.grey.get(index)).copied().unwrap_or(255)
    }
}

fn mean(red: u8, green: u8, blue: u8) -> u32 {
    let sum = u32::from(red).saturating_add(u32::from(green)).saturating_add(u32::from(blue));
    sum.checked_div(3).unwrap_or(0)
}
