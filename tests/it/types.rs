//! What the types forbid. Each file in `tests/ui` must not compile, for the reason that its first line gives.
//!
//! Only the code of the compiler's error is compared: its words change from one version to the next.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::fixtures;

/// Where the cases are compiled, and where the compiler's errors end up.
const COPIES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/ui");

/// The name of each file with `extension`, without it, and what it says.
fn files(folder: &Path, extension: &str) -> BTreeMap<String, String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
#[ignore = "is run by the test below, with a setting of its own"]
fn cases() {
    trybuild::TestCases::new().compile_fail(format!("{COPIES}/*.rs"));
}

#[test]
fn what_must_not_be_written_does_not_compile() {
    let cases = files(&fixtures().join("../ui"), "rs");
    assert_eq!(cases.len(), 12);
    let copies = Path::new(COPIES);
    let _ = fs::remove_dir_all(copies);
    fs::create_dir_all(copies).unwrap();
    for (name, source) in &cases {
        fs::write(copies.join(name).with_extension("rs"), source).unwrap();
    }
    // It fails if one of them compiles.
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["types::cases", "--exact", "--ignored", "--nocapture"])
        .env("TRYBUILD", "overwrite")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");

    let expected: BTreeMap<String, Vec<String>> = cases
        .iter()
        .map(|(name, source)| {
            let code = source.lines().next().unwrap().trim_start_matches("// ");
            (name.clone(), vec![code.to_owned()])
        })
        .collect();
    let found = files(copies, "stderr")
        .into_iter()
        .map(|(name, errors)| (name, codes(&errors)))
        .collect();
    assert_eq!(expected, found, "{said}");
}

/// `E0624` of `error[E0624]: …`; an error without a code stands as it is.
fn codes(errors: &str) -> Vec<String> {
    errors
        .lines()
        .filter_map(|line| line.strip_prefix("error"))
        .map(|line| match line.strip_prefix('[') {
            Some(line) => line.split(']').next().unwrap().to_owned(),
            None => line.to_owned(),
        })
        .collect()
}
