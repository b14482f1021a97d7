//! Why a token is refused.

/// Why a token is refused. The caller is not told which of these it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not three parts of strict base64url (no padding), or too long.
    #[error("the token is not well-formed")]
    Shape,
    /// The header is not one that this program writes with a key of the set (TOK-2).
    #[error("unknown token header")]
    Header,
    /// The signature does not verify.
    #[error("invalid token signature")]
    Signature,
    /// A claim is missing, duplicated, unknown or wrong.
    #[error("invalid token claims")]
    Claims,
    /// The token was valid and has expired.
    #[error("the token has expired")]
    Expired,
    /// The set has no key to sign with.
    #[error("there is no key to sign tokens with")]
    NoKey,
}
