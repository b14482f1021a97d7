//! The USB device behind a reader, as the kernel describes it in sysfs. The device itself is not asked.

use std::fs;
use std::path::Path;

/// The directory of the kernel with one entry for each USB device.
const DEVICES: &str = "/sys/bus/usb/devices";
/// The longest serial number that is taken over, in characters.
const LONGEST_SERIAL: usize = 128;

/// Where a USB device is: its bus, and its address there. No two devices of a host have the same at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UsbPlace {
    /// The number of the bus.
    pub bus: u8,
    /// The address on the bus.
    pub address: u8,
}

/// A USB device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsbDevice {
    /// Where it is.
    pub place: UsbPlace,
    /// The maker's number (idVendor), assigned by the USB Implementers Forum.
    pub vendor: u16,
    /// The maker's number of the product (idProduct).
    pub product: u16,
    /// The serial number that the device reports, in printable ASCII.
    pub serial: Option<String>,
}

/// Finds the device of a reader by the attribute SCARD_ATTR_CHANNEL_ID: 0x0020 for USB, then bus and address, one byte
/// each (PC/SC part 3 section 3.1.2). It is a number in the byte order of this host.
pub(super) fn device_of(channel: &[u8]) -> Option<UsbDevice> {
    let channel = u32::from_ne_bytes(*channel.first_chunk::<4>()?);
    let [kind_high, kind_low, bus, address] = channel.to_be_bytes();
    if [kind_high, kind_low] != [0x00, 0x20] {
        return None;
    }
    device_at(Path::new(DEVICES), UsbPlace { bus, address })
}

/// Returns the place of the USB device that a directory of sysfs belongs to: the nearest one above it.
pub(super) fn place_above(directory: &Path) -> Option<UsbPlace> {
    let whole = fs::canonicalize(directory).ok()?;
    whole.ancestors().find_map(place_of)
}

fn place_of(device: &Path) -> Option<UsbPlace> {
    let number = |name| read(device, name)?.parse::<u8>().ok();
    Some(UsbPlace { bus: number("busnum")?, address: number("devnum")? })
}

fn device_at(devices: &Path, place: UsbPlace) -> Option<UsbDevice> {
    let entries = fs::read_dir(devices).ok()?;
    let path = entries.filter_map(Result::ok).find(|entry| place_of(&entry.path()) == Some(place))?.path();
    let hex = |name| u16::from_str_radix(&read(&path, name)?, 16).ok();
    let serial = read(&path, "serial")
        .map(|text| text.chars().filter(char::is_ascii_graphic).take(LONGEST_SERIAL).collect::<String>());
    Some(UsbDevice {
        place,
        vendor: hex("idVendor")?,
        product: hex("idProduct")?,
        serial: serial.filter(|serial| !serial.is_empty()),
    })
}

fn read(device: &Path, name: &str) -> Option<String> {
    Some(fs::read_to_string(device.join(name)).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(root: &Path, name: &str, facts: &[(&str, &str)]) {
        fs::create_dir(root.join(name)).unwrap();
        facts.iter().for_each(|(fact, value)| fs::write(root.join(name).join(fact), format!("{value}\n")).unwrap());
    }

    #[test]
    fn the_device_at_a_bus_and_address_is_found() {
        let root = tempfile::tempdir().unwrap();
        let at = [("busnum", "1"), ("devnum", "7")];
        device(root.path(), "usb1", &[("busnum", "1"), ("devnum", "1"), ("idVendor", "1d6b"), ("idProduct", "0002")]);
        let facts = [("idVendor", "20a0"), ("idProduct", "42b2"), ("serial", "A1B2 C3\u{e9}")];
        device(root.path(), "1-4", &[&at[..], &facts[..]].concat());
        // An interface has no address.
        device(root.path(), "1-4:1.0", &[("bInterfaceClass", "0b")]);

        let place = UsbPlace { bus: 1, address: 7 };
        let found = device_at(root.path(), place);

        let serial = Some("A1B2C3".to_owned());
        assert_eq!(found, Some(UsbDevice { place, vendor: 0x20a0, product: 0x42b2, serial }));
        assert_eq!(device_at(root.path(), UsbPlace { bus: 2, ..place }), None);
        assert_eq!(device_at(&root.path().join("none"), place), None);
        let node = root.path().join("1-4/1-4:1.1/hidraw");
        fs::create_dir_all(&node).unwrap();
        assert_eq!(place_above(&node), Some(place));
        assert_eq!(place_above(&root.path().join("1-4:1.0")), None);
    }

    #[test]
    fn a_reader_that_is_no_usb_device_has_none() {
        assert_eq!(device_of(&0x0001_0107_u32.to_ne_bytes()), None);
        assert_eq!(device_of(&[1, 2]), None);
    }
}
