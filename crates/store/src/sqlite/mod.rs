//! What only this engine has: the files, the schema, the one writing connection, the reading ones, the roll-back guard, the
//! integrity check, backup and restore.

pub(crate) mod backup;
pub(crate) mod files;
pub(crate) mod guard;
pub(crate) mod inspection;
pub(crate) mod readers;
pub(crate) mod restore;
pub(crate) mod schema;
pub(crate) mod writer;
