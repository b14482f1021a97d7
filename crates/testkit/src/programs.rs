//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

/// The top of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap().to_owned()
}

/// The program of that name (`mfad` or `mfactl`), built with the same profile as this test. Cargo builds the programs of
/// another package for no test, so they are built here if they are missing or older than one of their sources. Where
/// `MFAD_TEST_PROGRAMS` names their directory, they are taken from there as they are.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build_if_stale).join(name)
}

fn build_if_stale() -> PathBuf {
    if let Some(dir) = env::var_os("MFAD_TEST_PROGRAMS") {
        return dir.into();
    }
    // target/PROFILE/deps/TEST, or target/PROFILE/examples/EXAMPLE.
    let this = env::current_exe().unwrap();
    let dir = this.ancestors().nth(2).unwrap().to_owned();
    if ["mfad", "mfactl"].iter().all(|name| is_fresh(&dir, name)) {
        return dir;
    }
    let profile = match dir.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "mfad",
            "--package",
            "mfactl",
            "--bins",
            "--profile",
            profile,
        ])
        .current_dir(root())
        .status()
        .unwrap();
    assert!(built.success(), "the programs under test do not build");
    dir
}

/// Whether the program is there and newer than all its sources, which Cargo lists in a file beside it.
fn is_fresh(dir: &Path, name: &str) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let Some(built) = modified(&dir.join(name)) else { return false };
    let Ok(list) = fs::read_to_string(dir.join(format!("{name}.d"))) else { return false };
    let Some((_, sources)) = list.split_once(": ") else { return false };
    sources.split_whitespace().all(|source| modified(Path::new(source)).is_some_and(|changed| changed <= built))
}
