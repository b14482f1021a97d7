//! Commands and flags for users, and their help texts.

use clap::{ArgGroup, Args, Subcommand};

use crate::args::{ActOnUser, PasswordFrom, UserArg};
use crate::help;

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Create a user
    #[command(
        alias = "create",
        after_help = help::USER_ADD
    )]
    Add(UserAddArgs),
    /// List all users
    #[command(alias = "ls")]
    List,
    /// Show one user
    Show(ActOnUser),
    /// Change the name, the display name or the email address of a user
    #[command(after_help = help::USER_SET)]
    Set(UserSetArgs),
    /// Rename a user; the same as `user set --name`
    #[command(after_help = help::USER_RENAME)]
    Rename(UserRenameArgs),
    /// Disable a user: bar logins and end all sessions
    Disable(UserArg),
    /// Enable a disabled user
    Enable(UserArg),
    /// Delete a user and all their secrets
    #[command(alias = "rm")]
    Delete(ActOnUser),
}

#[derive(Debug, Args)]
pub(crate) struct UserAddArgs {
    /// Name, 1 to 64 characters
    pub name: String,
    /// Use this uid instead of a generated one
    #[arg(long, value_name = "UUID")]
    pub id: Option<String>,
    /// Display name
    #[arg(long, value_name = "TEXT")]
    pub display_name: Option<String>,
    /// Email address; can be used to log in
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// Prompt for a password
    #[arg(long, conflicts_with_all = ["password_file", "password_stdin"])]
    pub password: bool,
    #[command(flatten)]
    pub password_from: PasswordFrom,
}

#[derive(Debug, Args)]
pub(crate) struct UserRenameArgs {
    #[command(flatten)]
    pub on: ActOnUser,
    /// New name, 1 to 64 characters
    pub name: String,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("changes").required(true).multiple(true))]
pub(crate) struct UserSetArgs {
    #[command(flatten)]
    pub on: ActOnUser,
    /// New name, 1 to 64 characters
    #[arg(long, group = "changes", value_name = "NAME")]
    pub name: Option<String>,
    /// New display name; an empty text removes it
    #[arg(long, group = "changes", value_name = "TEXT")]
    pub display_name: Option<String>,
    /// New email address; an empty text removes it
    #[arg(long, group = "changes", value_name = "ADDRESS")]
    pub email: Option<String>,
    /// Give the user a role (admin). `host`: the user stands for the account of this name in logins to this host
    #[arg(long, group = "changes", value_name = "ROLE")]
    pub add_role: Vec<String>,
    /// Take a role from the user (admin)
    #[arg(long, group = "changes", value_name = "ROLE")]
    pub remove_role: Vec<String>,
}
