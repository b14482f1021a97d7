//! A real applet that runs in a process of its own, behind the same readers and faults as the virtual keys
//! (`tools/nitrokey`).

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::key::Touch;

/// The process of an applet. It ends when this is dropped.
pub(super) struct ForeignApplet {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    touch: Touch,
}

impl ForeignApplet {
    /// Starts a program with an applet. It speaks as `tools/nitrokey` does.
    pub(super) fn start(program: &Path) -> Self {
        let mut command = Command::new(program);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the applet starts");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output, touch: Touch::Given }
    }

    pub(super) fn transmit(&mut self, apdu: &[u8], touch: Touch) -> Vec<u8> {
        if touch != self.touch {
            self.tell(if touch == Touch::Given { b'T' } else { b'R' }, &[]);
            self.touch = touch;
        }
        self.tell(b'A', apdu)
    }

    pub(super) fn power_off(&mut self) {
        self.tell(b'P', &[]);
    }

    fn tell(&mut self, kind: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).expect("a short message").to_be_bytes();
        self.input.write_all(&[&[kind][..], &length, data].concat()).expect("the applet listens");
        let mut length = [0; 2];
        self.output.read_exact(&mut length).expect("the applet answers");
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        self.output.read_exact(&mut answer).expect("the applet answers");
        answer
    }
}

impl Drop for ForeignApplet {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
