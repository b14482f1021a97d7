
/// Whether this mutant is the one to be tried, by `MUTANT`. Where `MUTANT_REACHED` is given, each that was asked
/// about is written to the file of that name and the number of the process.
#[doc(hidden)]
pub fn mutant(number: usize) -> bool {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    static TRIED: OnceLock<Option<usize>> = OnceLock::new();
    static LOG: OnceLock<Option<std::fs::File>> = OnceLock::new();
    static REACHED: [AtomicBool; 1 << 14] = [const { AtomicBool::new(false) }; 1 << 14];

    let log = LOG.get_or_init(|| {
        let path = format!("{}.{}", std::env::var("MUTANT_REACHED").ok()?, std::process::id());
        std::fs::OpenOptions::new().create(true).append(true).open(path).ok()
    });
    if let (Some(mut log), Some(reached)) = (log.as_ref(), REACHED.get(number))
        && !reached.swap(true, Ordering::Relaxed)
    {
        let _ = log.write_all(format!("{number}\n").as_bytes());
    }
    *TRIED.get_or_init(|| std::env::var("MUTANT").ok()?.parse().ok()) == Some(number)
}
