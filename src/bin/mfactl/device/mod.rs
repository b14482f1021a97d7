//! `device …`: the hardware keys of the daemon's host.

mod change;
mod password;
mod provision;
mod show;
pub mod watch;

use crate::desk::Desk;
use crate::device_args::DeviceCommand;
use crate::failure::Failure;

/// `device …`.
pub async fn run(desk: &mut Desk, command: &DeviceCommand) -> Result<(), Failure> {
    match command {
        DeviceCommand::List => show::list(desk).await,
        DeviceCommand::Info(on) => show::info(desk, on.serial).await,
        DeviceCommand::Attest { on, slot } => show::attest(desk, on.serial, slot.as_deref()).await,
        DeviceCommand::Accounts(on) => show::accounts(desk, on.serial).await,
        DeviceCommand::Provision(args) => provision::run(desk, args).await,
        DeviceCommand::Rename { on, name, new } => change::rename(desk, on, name, new).await,
        DeviceCommand::Delete { on, name, force } => change::delete(desk, on, name, *force).await,
        DeviceCommand::Reset { on, force } => change::reset(desk, on, *force).await,
        DeviceCommand::Password(args) => password::run(desk, args).await,
        DeviceCommand::Return(on) => change::take_back(desk, on).await,
        DeviceCommand::Watch => watch::run(desk).await,
    }
}
