//! Random bytes from the operating system, the only source of randomness (KEY-6). There is no generator that could be
//! seeded.

use zeroize::Zeroize;

use crate::model::Sensitive;

/// The operating system returned no random bytes. The operation that needed them must be refused.
#[derive(Debug, thiserror::Error)]
#[error("the operating system returned no random bytes")]
pub struct NoEntropy;

/// Returns `N` random bytes that need no secrecy: salts, nonces, random parts of ids.
pub fn public<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0u8; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// Fills `bytes` in place, so that no copy of a secret is left elsewhere.
pub fn fill(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    getrandom::fill(bytes).map_err(|_| NoEntropy)
}

/// Returns `N` random bytes that are a secret.
pub fn secret<const N: usize>() -> Result<Sensitive<[u8; N]>, NoEntropy>
where
    [u8; N]: Zeroize,
{
    public().map(Sensitive::new)
}

/// Returns `length` random bytes that are a secret.
pub fn secret_of_length(length: usize) -> Result<Sensitive<Vec<u8>>, NoEntropy> {
    // Allocated at full length: a vector that grows leaves copies of the secret behind.
    let mut bytes = vec![0u8; length];
    fill(&mut bytes)?;
    Ok(Sensitive::new(bytes))
}
