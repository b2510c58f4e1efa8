//! Every wrong runbook in `tests/fixtures/runbooks/bad` with its rendering beside it.
//! `BACKOUT_BLESS=1` writes the renderings anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use backout_runbook::{
    FileFact, Mode, RELEASES_FILE, Source, Style, accept, codes, compile_beside, render,
};

use crate::actions::Actions;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn bad() -> PathBuf {
    root().join("tests/fixtures/runbooks/bad")
}

/// The file as expected, or written anew when asked for.
#[track_caller]
pub(crate) fn check_file(path: &Path, found: &str) {
    if std::env::var_os("BACKOUT_BLESS").is_some() {
        assert!(fs::write(path, found).is_ok(), "{}", path.display());
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "{}: BACKOUT_BLESS=1 writes it anew", path.display());
}

/// All that is said of a file, as text, and the codes of it. A file may begin with
/// `// mode: run`; else it is read as `check` does. What stands under its name in `releases/` is the
/// `releases.ron` beside it.
fn said(name: &str, text: &str, releases: Option<&str>) -> (String, BTreeSet<&'static str>) {
    let mode = if text.starts_with("// mode: run") { Mode::Run } else { Mode::Check };
    let source = Source { name, text };
    let beside = Source { name: RELEASES_FILE, text: releases.unwrap_or_default() };
    let compiled = compile_beside(&source, releases, &BTreeMap::new(), mode, &Actions);
    let own = compiled.problems.iter().chain(&compiled.warnings).map(|problem| (problem, &source));
    let all: Vec<_> =
        own.chain(compiled.release_problems.iter().map(|problem| (problem, &beside))).collect();
    let text = all.iter().map(|(problem, source)| render(problem, source, Style::PLAIN)).collect();
    (text, all.iter().map(|(problem, _)| problem.code).collect())
}

#[test]
fn wrong_runbooks_are_told_as_expected() {
    let mut seen = BTreeSet::new();
    let mut files: Vec<PathBuf> =
        fs::read_dir(bad()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "ron")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let releases = fs::read_to_string(bad().join("releases").join(name)).ok();
        let (text, codes) = said(name, &fs::read_to_string(file).unwrap(), releases.as_deref());
        assert!(!codes.is_empty(), "{name} is not wrong");
        seen.extend(codes);
        check_file(&file.with_extension("txt"), &text);
    }
    // Those about reading the file, about given values and about scenarios have tests of their own.
    let elsewhere = [
        "BO0101", "BO0102", "BO0103", "BO0104", "BO0105", "BO0602", "BO0603", "BO0605", "BO0801",
        "BO0802",
    ];
    for (code, title) in codes::ALL {
        assert!(seen.contains(code) || elsewhere.contains(code), "no fixture for {code}: {title}");
    }
}

#[test]
fn files_that_are_no_text() {
    use std::io::{Error, ErrorKind};
    let code = |fact| accept("a.ron", fact).map_err(|problem| problem.code);
    assert_eq!(code(FileFact::Bytes(b"abc".to_vec())).as_deref(), Ok("abc"));
    assert_eq!(code(FileFact::Bytes(b"ab\n\xffc".to_vec())), Err(codes::FILE_NOT_UTF8));
    assert_eq!(code(FileFact::Bytes(vec![b' '; 5 << 20])), Err(codes::FILE_TOO_LARGE));
    assert_eq!(code(FileFact::TooLarge { bytes: 1 << 40 }), Err(codes::FILE_TOO_LARGE));
    assert_eq!(code(FileFact::Folder), Err(codes::FILE_FOLDER));
    let failed = |kind: ErrorKind| code(FileFact::Failed(Error::from(kind)));
    assert_eq!(failed(ErrorKind::NotFound), Err(codes::FILE_MISSING));
    assert_eq!(failed(ErrorKind::IsADirectory), Err(codes::FILE_FOLDER));
    assert_eq!(failed(ErrorKind::PermissionDenied), Err(codes::FILE_UNREADABLE));
    let problem = accept("a.ron", FileFact::Bytes(b"ab\nc\xff".to_vec())).unwrap_err();
    assert_eq!((problem.line, problem.column), (2, 2));
}
