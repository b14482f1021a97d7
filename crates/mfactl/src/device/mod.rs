//! `device …`: hardware keys plugged into the daemon's host.

mod change;
mod password;
mod provision;
mod show;
pub(crate) mod watch;

use crate::context::Context;
use crate::device_args::DeviceCommand;
use crate::failure::Failure;

pub(crate) async fn run(context: &mut Context, command: &DeviceCommand) -> Result<(), Failure> {
    match command {
        DeviceCommand::List => show::list(context).await,
        DeviceCommand::Info(on) => show::info(context, on.key).await,
        DeviceCommand::Attest { on, slot } => show::attest(context, on.key, slot.as_deref()).await,
        DeviceCommand::Accounts(on) => show::accounts(context, on.key).await,
        DeviceCommand::Provision(args) => provision::run(context, args).await,
        DeviceCommand::Rename { on, name, new } => change::rename(context, on, name, new).await,
        DeviceCommand::Delete { on, name, force } => change::delete(context, on, name, *force).await,
        DeviceCommand::Reset { on, force } => change::reset(context, on, *force).await,
        DeviceCommand::Password(args) => password::run(context, args).await,
        DeviceCommand::Return(on) => change::take_back(context, on).await,
        DeviceCommand::Watch => watch::run(context).await,
    }
}
