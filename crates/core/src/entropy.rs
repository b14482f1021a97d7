//! The operating system's random generator, the only source of randomness (KEY-6).

use zeroize::Zeroize;

use crate::model::Sensitive;

/// The generator failed; whatever wanted the bytes must be refused.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoEntropy;

/// `N` random bytes that are no secret: salts, nonces, ids.
pub fn public<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0u8; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// Fills in random bytes where they are to stay.
pub fn fill(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    getrandom::fill(bytes).map_err(|_| NoEntropy)
}

/// `N` random bytes that are a secret.
pub fn secret<const N: usize>() -> Result<Sensitive<[u8; N]>, NoEntropy>
where
    [u8; N]: Zeroize,
{
    public().map(Sensitive::new)
}

/// As many secret random bytes as asked for.
pub fn secret_of_length(length: usize) -> Result<Sensitive<Vec<u8>>, NoEntropy> {
    let mut bytes = vec![0u8; length];
    fill(&mut bytes)?;
    Ok(Sensitive::new(bytes))
}
