//! Turns `docs/openapi.yaml` into the JSON that the daemon serves.

use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=../../docs/openapi.yaml");
    let document: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string("../../docs/openapi.yaml")?)?;
    let target = Path::new(&env::var("OUT_DIR")?).join("openapi.json");
    fs::write(target, document.to_string())?;
    Ok(())
}
