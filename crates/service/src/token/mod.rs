//! Signed tokens: compact JWS (RFC 7515) with EdDSA over Ed25519 (RFC 8037), and the key set (RFC 7517).
//!
//! A token's header is never interpreted. It must equal, byte for byte, one of the headers that this program writes for
//! a key that it holds, in any format that it can be configured to write. So there is no algorithm to confuse, no `jwk`
//! and no `crit`, and the kind of token is fixed before a claim is read (TOK-1, TOK-2, TOK-4). It knows no store and no
//! clock.

mod claims;
mod fault;
mod format;
mod keys;
mod verified;

pub use claims::{ACCESS_LIFETIME, Claims};
pub use fault::TokenFault;
pub use format::{AccessType, SigningAlgorithm, TokenFormat};
pub use keys::{KeySet, PublicKey, SigningKey, public_keys, sign_statement};
