//! What a shell offers when the user presses Tab: commands, flags, and the names that the daemon knows.

use std::process::Command;

use serde_json::json;

use crate::host::Host;
use crate::page::are_there;
use crate::wire::Request;

/// What bash offers for the last of these words, by the script that mfactl prints.
fn offered(host: &Host, words: &[&str]) -> Vec<String> {
    const SCRIPT: &str = r#"
        source <(mfactl completions bash)
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        _clap_complete_mfactl mfactl "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    let programs = mfad_testkit::program("mfactl").parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    bash.args(["-c", SCRIPT, "bash"]).args(words).env("PATH", path).env("MFAD_SOCKET", host.socket());

    let output = bash.output().unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

#[test]
fn commands_flags_users_and_secrets_are_completed_in_bash() {
    let host = Host::start("");
    for name in ["ann", "anna", "bob", "an id", "an$(id)"] {
        host.nobody(name);
    }
    let carl = host.person("carl");
    for name in ["deploy", "backup"] {
        host.ask(&Request::post(carl.secrets(), &json!({"type": "apikey", "name": name})).token(&carl.token)).ok();
    }

    assert_eq!(offered(&host, &["mfactl", "prov"]), ["provision"]);
    let commands = offered(&host, &["mfactl", ""]);
    for command in ["user", "login", "whoami", "step-up", "device", "audit", "master-key", "doctor"] {
        assert!(commands.contains(&command.to_owned()), "{command}: {commands:?}");
    }
    assert!(offered(&host, &["mfactl", "user", "list", "--no-h"]).contains(&"--no-headers".to_owned()));
    // A name that the shell would run, or take for two words, is not offered.
    assert_eq!(offered(&host, &["mfactl", "user", "show", "an"]), ["ann", "anna"]);
    assert_eq!(offered(&host, &["mfactl", "audit", "tail", "--user", "b"]), ["bob"]);
    assert_eq!(offered(&host, &["mfactl", "secret", "delete", "carl", "de"]), ["deploy"]);
    assert!(offered(&host, &["mfactl", "secret", "delete", "nobody", "de"]).is_empty());
    // File names are the shell's affair: it quotes them, and the script does not.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x$(id)"), "").unwrap();
    let begun = format!("{}/", dir.path().display());
    for before in
        [&["login", "ann", "--password-file"][..], &["backup"], &["provision", "batch"], &["doctor", "--state-dir"]]
    {
        assert!(offered(&host, &[&["mfactl"], before, &[&begun]].concat()).is_empty(), "{before:?}");
    }
}

#[test]
fn without_a_daemon_the_completion_is_silent() {
    let mut host = Host::start("");
    host.kill();

    assert!(offered(&host, &["mfactl", "user", "show", "an"]).is_empty());
}

#[test]
fn zsh_loads_its_script_and_takes_it_for_mfactl() {
    if !are_there(&["zsh"], "zsh_loads_its_script_and_takes_it_for_mfactl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let manual = Command::new(mfad_testkit::program("mfactl")).arg("manual").arg(dir.path()).status().unwrap();
    assert!(manual.success());
    let script = "fpath=($1 $fpath); autoload -Uz compinit; compinit -u -D; print -r -- $_comps[mfactl]";

    let output = Command::new("zsh").args(["-f", "-c", script, "zsh"]).arg(dir.path()).output().unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!((said.trim(), output.stderr.len()), ("_mfactl", 0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_command_has_a_man_page_and_no_page_names_one_that_there_is_not() {
    let dir = tempfile::tempdir().unwrap();
    for program in ["mfad", "mfactl"] {
        let status = Command::new(mfad_testkit::program(program)).arg("manual").arg(dir.path()).status().unwrap();
        assert!(status.success());
    }
    let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();

    assert!(page("mfad-restore.8").contains("key\\-file") && page("mfad.8").contains("MFAD_LOG"));
    let known = |name: &str| {
        let others = ["systemd-creds(1)"];
        let (file, section) = name.trim_end_matches(')').split_once('(').unwrap();
        others.contains(&name) || dir.path().join(format!("{file}.{section}")).exists()
    };
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension.len() != 1) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap().replace("\\-", "-");
        let words = text.split(|letter: char| letter.is_whitespace() || letter == ',' || letter == '.');
        let is_page = |word: &&str| {
            let name = word.split('(').next().unwrap();
            word.len() == name.len() + 3 && ["(1)", "(5)", "(8)"].iter().any(|end| word.ends_with(end))
        };
        for word in words.filter(is_page) {
            assert!(known(word) || word == "toml(5)", "{word} in {}", path.display());
        }
    }
}
