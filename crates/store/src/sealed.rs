//! Access to the sealed values of every table: listing and replacing them, for a rotation of the master key.

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::Fault;
use crate::vault::AssociatedData;

/// A sealed value of any table, with everything that is needed to open and to replace it.
pub(crate) struct SealedValue {
    /// Primary key of its row.
    pub(crate) key: Value,
    pub(crate) home: OwnedAssociatedData,
    pub(crate) sealed: Vec<u8>,
}

/// An [`AssociatedData`] that owns its parts.
pub(crate) struct OwnedAssociatedData {
    pub(crate) table: &'static str,
    pub(crate) row: Vec<u8>,
    pub(crate) user: Vec<u8>,
    pub(crate) kind: &'static str,
    pub(crate) parameters: String,
}

impl OwnedAssociatedData {
    pub(crate) fn associated_data(&self) -> AssociatedData<'_> {
        AssociatedData {
            table: self.table,
            row: &self.row,
            user: &self.user,
            kind: self.kind,
            parameters: &self.parameters,
        }
    }
}

/// The statements that list and replace the sealed values of one table.
pub(crate) struct Sealed {
    /// A value below every primary key.
    pub(crate) first: fn() -> Value,
    /// Returns the next values after a primary key, in the order of the keys, up to a number.
    pub(crate) after: fn(&Connection, &Value, u32) -> Result<Vec<SealedValue>, Fault>,
    /// SQL statement that puts a value (`?2`) into the row of a primary key (`?1`).
    pub(crate) put: &'static str,
}
