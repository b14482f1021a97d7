//! The SQLite engine: files, schema, the writing connection, the read-only connections, roll-back guard, integrity
//! check, backup and restore. These modules know no use case. The verbs of the domain are one level up.

pub(crate) mod backup;
pub(crate) mod files;
pub(crate) mod guard;
pub(crate) mod inspection;
pub(crate) mod readers;
pub(crate) mod restore;
pub(crate) mod schema;
pub(crate) mod writer;
