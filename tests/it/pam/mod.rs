//! The PAM module in stacks of its own, driven by programs that we did not write.

mod applications;
mod break_glass;
mod documents;
mod enable;
mod faults;
mod machine;
mod module;
pub mod rig;
mod secrecy;
mod touch;
