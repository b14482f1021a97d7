//! Security keys as the kernel exposes them: hidraw nodes whose report descriptor has the usage page of FIDO. Carries
//! reports, and does not know what is in them.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::{Errno, read, write};

use mfad_core::entropy;

use super::channel::{Channel, REPORT, Report, Reports};
use super::usb::place_above;
use super::{DeviceFault, Port, SecurityKey, SecurityKeys};

/// The usage page of FIDO (CTAP 2.1 section 11.2.8.2).
const FIDO: u32 = 0xF1D0;
/// Types and tags of HID items, without the bits for their length (HID 1.11 section 6.2.2).
const USAGE_PAGE: u8 = 0x04;
const LONG_ITEM: u8 = 0xFE;
/// The longest product name that is shown, in characters.
const LONGEST_NAME: usize = 64;

/// The security keys in the ports of this host.
pub struct HidKeys {
    classes: PathBuf,
    nodes: PathBuf,
}

impl Default for HidKeys {
    fn default() -> Self {
        Self { classes: "/sys/class/hidraw".into(), nodes: "/dev".into() }
    }
}

impl HidKeys {
    fn port(&self, node: &str) -> Option<Port> {
        let device = self.classes.join(node).join("device");
        // A key that is pulled at this moment is left out.
        let descriptor = fs::read(device.join("report_descriptor")).ok()?;
        if !usage_pages(&descriptor).any(|page| page == FIDO) {
            return None;
        }
        let facts = fs::read_to_string(device.join("uevent")).unwrap_or_default();
        let name = facts.lines().find_map(|line| line.strip_prefix("HID_NAME=")).unwrap_or("security key");
        // The name comes from the device, so only printable ASCII of bounded length is kept.
        let product = name.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(LONGEST_NAME).collect();
        Some(Port { node: node.to_owned(), product, usb: place_above(&device) })
    }
}

impl SecurityKeys for HidKeys {
    fn ports(&self) -> Result<Vec<Port>, DeviceFault> {
        let entries = match fs::read_dir(&self.classes) {
            Ok(entries) => entries,
            // A kernel without HID support has no such directory, and no keys.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(DeviceFault::Failed(error.to_string())),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut ports: Vec<Port> = names.filter_map(|node| self.port(&node)).collect();
        ports.sort_unstable_by(|one, other| one.node.cmp(&other.node));
        Ok(ports)
    }

    fn open(&self, port: &Port) -> Result<Box<dyn SecurityKey>, DeviceFault> {
        // Non-blocking, since each wait for a report is a `poll` with a deadline.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let node = open(self.nodes.join(&port.node), flags, Mode::empty()).map_err(fault)?;
        // Two ceremonies on one key would each take a touch for their own.
        flock(&node, FlockOperation::NonBlockingLockExclusive).map_err(fault)?;
        let nonce = entropy::public().map_err(|cause| DeviceFault::Failed(cause.to_string()))?;
        Ok(Box::new(Channel::open(Node(node), nonce)?))
    }
}

/// An open hidraw node, locked until it is dropped.
struct Node(OwnedFd);

impl Reports for Node {
    fn send(&mut self, report: &Report) -> Result<(), DeviceFault> {
        // The kernel expects the report number first. FIDO reports have none, which is written as 0.
        let mut numbered = [0; REPORT + 1];
        numbered.iter_mut().skip(1).zip(report).for_each(|(place, byte)| *place = *byte);
        let sent = write(&self.0, &numbered);
        zeroize::Zeroize::zeroize(&mut numbered);
        sent.map(drop).map_err(fault)
    }

    fn receive(&mut self, patience: Duration) -> Result<Option<Report>, DeviceFault> {
        let mut ready = [PollFd::new(&self.0, PollFlags::IN)];
        let patience = Timespec::try_from(patience).map_err(|_| DeviceFault::Hung)?;
        match poll(&mut ready, Some(&patience)) {
            // An interrupted wait is like a short one: callers watch the time themselves.
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(fault(error)),
        }
        if ready.iter().any(|ready| ready.revents().intersects(PollFlags::HUP | PollFlags::ERR)) {
            return Err(DeviceFault::Removed);
        }
        let mut report = [0; REPORT];
        match read(&self.0, &mut report) {
            Ok(REPORT) => Ok(Some(report)),
            Ok(0) => Err(DeviceFault::Removed),
            Ok(_) => Err(DeviceFault::Failed("a report of another length".to_owned())),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(fault(error)),
        }
    }
}

fn fault(error: Errno) -> DeviceFault {
    match error {
        Errno::ACCESS | Errno::PERM => DeviceFault::NoAccess,
        Errno::WOULDBLOCK => DeviceFault::Busy { holder: None },
        // The kernel reports a key that was pulled in any of these ways.
        Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::IO | Errno::SHUTDOWN | Errno::PIPE => DeviceFault::Removed,
        other => DeviceFault::Failed(other.to_string()),
    }
}

/// Returns the usage pages that a report descriptor names.
fn usage_pages(descriptor: &[u8]) -> impl Iterator<Item = u32> {
    let mut rest = descriptor;
    std::iter::from_fn(move || {
        loop {
            let (&prefix, after) = rest.split_first()?;
            let (skipped, length) = match prefix {
                LONG_ITEM => (2, usize::from(*after.first()?)),
                // Two bits give the number of bytes that follow: 0, 1, 2 or 4.
                short => (0, [0, 1, 2, 4].get(usize::from(short & 0x03)).copied()?),
            };
            let (data, next) = after.get(skipped..)?.split_at_checked(length)?;
            rest = next;
            if prefix & !0x03 == USAGE_PAGE {
                return Some(data.iter().rev().fold(0, |page, byte| page << 8 | u32::from(*byte)));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const KEY: [u8; 9] = [0x06, 0xD0, 0xF1, 0x09, 0x01, 0xA1, 0x01, 0x09, 0x20];
    const KEYBOARD: [u8; 7] = [0x05, 0x01, 0x09, 0x06, 0xA1, 0x01, 0xC0];

    #[test]
    fn the_usage_page_tells_a_security_key() {
        assert_eq!(usage_pages(&KEY).collect::<Vec<_>>(), [FIDO]);
        assert_eq!(usage_pages(&KEYBOARD).collect::<Vec<_>>(), [0x01]);
        // The same two bytes as the data of another item, inside a long item, and cut off.
        assert_eq!(usage_pages(&[0x27, 0x06, 0xD0, 0xF1, 0x00, 0x05, 0x0C]).collect::<Vec<_>>(), [0x0C]);
        assert_eq!(usage_pages(&[0xFE, 3, 0x10, 0x06, 0xD0, 0xF1, 0x05, 0x0C]).collect::<Vec<_>>(), [0x0C]);
        assert_eq!(usage_pages(&[0x06, 0xD0]).count(), 0);
        assert_eq!(usage_pages(&[0xFE]).count(), 0);
    }

    #[test]
    fn keys_are_found_and_named_and_others_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for (node, descriptor, facts) in [
            ("hidraw2", &KEY[..], "HID_ID=0003\nHID_NAME=Maker Key\u{7}\u{e9} 5\n"),
            ("hidraw10", &KEY[..], ""),
            ("hidraw0", &KEYBOARD[..], "HID_NAME=Keyboard\n"),
        ] {
            let device = dir.path().join(node).join("device");
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("report_descriptor"), descriptor).unwrap();
            fs::write(device.join("uevent"), facts).unwrap();
        }
        let keys = HidKeys { classes: dir.path().to_owned(), nodes: dir.path().to_owned() };

        let ports = keys.ports().unwrap();

        let port = |node: &str, product: &str| Port { node: node.to_owned(), product: product.to_owned(), usb: None };
        assert_eq!(ports, [port("hidraw10", "security key"), port("hidraw2", "Maker Key 5")]);
        let none = HidKeys { classes: dir.path().join("none"), nodes: dir.path().to_owned() };
        assert_eq!(none.ports(), Ok(Vec::new()));
    }

    #[test]
    fn a_node_that_another_holds_or_that_is_gone_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let keys = HidKeys { classes: dir.path().to_owned(), nodes: dir.path().to_owned() };
        let port = Port { node: "hidraw0".to_owned(), product: String::new(), usb: None };
        assert_eq!(keys.open(&port).err(), Some(DeviceFault::Removed));

        let held = File::create(dir.path().join("hidraw0")).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();

        assert_eq!(keys.open(&port).err(), Some(DeviceFault::Busy { holder: None }));
    }
}
