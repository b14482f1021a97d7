//! Finds the programs under test, and builds them if necessary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

/// Returns the root directory of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap().to_owned()
}

/// What this builds: the programs, and the PAM module.
const PROGRAMS: [&str; 4] = ["mfad", "mfactl", "mfad-pam-try", "libpam_mfad.so"];

/// Returns the path of a program or of the PAM module, built with the same profile as this test. Cargo does not build
/// programs of another package for a test. So this builds them if they are missing or older than one of their sources.
/// If `MFAD_TEST_PROGRAMS` names a directory, the programs in it are used as they are.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let packages = ["mfad", "mfactl", "mfad-pam-try", "pam-mfad"];
    let parts = [packages.map(|name| ["--package", name]).as_flattened(), &["--bins", "--lib"]].concat();
    BUILT.get_or_init(|| build_if_stale("", &PROGRAMS, &parts)).join(name)
}

/// Returns the path of an example of the crate `mfad-client`, as [`program`] does for programs.
pub fn example(name: &str) -> PathBuf {
    let parts = ["--package", "mfad-client", "--example", name];
    build_if_stale("examples", &[name], &parts).join(name)
}

/// Returns the directory of these programs. Builds the parts that Cargo calls by these arguments if one is stale.
fn build_if_stale(folder: &str, names: &[&str], parts: &[&str]) -> PathBuf {
    if let Some(dir) = env::var_os("MFAD_TEST_PROGRAMS") {
        return PathBuf::from(dir).join(folder);
    }
    // target/PROFILE/deps/TEST, or target/PROFILE/examples/EXAMPLE.
    let this = env::current_exe().unwrap();
    let dir = this.ancestors().nth(2).unwrap().to_owned();
    if names.iter().all(|name| is_fresh(&dir.join(folder), name)) {
        return dir.join(folder);
    }
    let profile = match dir.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--profile", profile])
        .args(parts)
        .current_dir(root())
        .status()
        .unwrap();
    assert!(built.success(), "the programs under test do not build");
    dir.join(folder)
}

/// Whether the program exists and is newer than all its sources, which Cargo lists in a file beside it.
fn is_fresh(dir: &Path, name: &str) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let Some(built) = modified(&dir.join(name)) else { return false };
    let Ok(list) = fs::read_to_string(dir.join(name).with_extension("d")) else { return false };
    let Some((_, sources)) = list.split_once(": ") else { return false };
    sources.split_whitespace().all(|source| modified(Path::new(source)).is_some_and(|changed| changed <= built))
}
