//! The formats of lists.

use clap::ValueEnum;

/// How lists are printed. The doc comments of the variants are part of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns that fit a terminal, with times to the minute
    Table,
    /// All columns, with uids and whole times
    Wide,
    /// The daemon's response as one JSON document
    Json,
    /// The first column alone
    Name,
    /// All columns as comma-separated values (RFC 4180)
    Csv,
}
