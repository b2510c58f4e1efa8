//! What is written down holds: links, examples, error codes, and the arrows between the crates.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::support::{Said, TestEnv};

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All files of an ending, without what is built.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_ours = !name.starts_with('.') && name != "target";
            if path.is_dir() && is_ours {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 3, "too few files to be all: {found:?}");
    found
}

/// A page without its blocks of code, and the blocks, each with its language.
fn split(text: &str) -> (String, Vec<(String, String)>) {
    let (mut prose, mut blocks) = (String::new(), Vec::new());
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, block)), None) => block.extend([line, "\n"]),
            (None, None) => prose.extend([line, "\n"]),
        }
    }
    (prose, blocks)
}

/// The targets of Markdown links: what stands in `](…)`.
fn links(prose: &str) -> Vec<&str> {
    let ends = prose.split("](").skip(1);
    ends.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// The anchors of a page, as code hosts make them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = split(text).0;
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in files("md") {
        let text = fs::read_to_string(&page).unwrap();
        let (prose, _) = split(&text);
        for link in links(&prose).into_iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let has_anchor = || {
                let text = fs::read_to_string(&target).unwrap_or_default();
                anchor.is_empty() || anchors(&text).contains(anchor)
            };
            if !target.exists() || !has_anchor() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_runbook_in_the_docs_is_valid() {
    let env = TestEnv::new();
    let mut checked = 0;
    for page in files("md") {
        let (_, blocks) = split(&fs::read_to_string(&page).unwrap());
        let runbooks = blocks.iter().filter(|(language, block)| {
            language == "ron" && block.trim_start().starts_with("Runbook(")
        });
        // A page about a problem shows how not to do it first.
        let is_error = page.parent().unwrap().ends_with("docs/errors");
        for (_, block) in runbooks.filter(|_| !is_error) {
            let file = env.write("page.ron", block);
            let said = env.backout([Path::new("check"), &file]);
            assert_eq!(said.code, 0, "{}:\n{block}\n{}", page.display(), said.err);
            checked += 1;
        }
    }
    assert!(checked >= 5, "{checked}");
}

/// The codes that stand in a text.
fn codes(text: &str) -> BTreeSet<String> {
    let is_code = |word: &&str| {
        word.len() == 6 && word.starts_with("BO") && word[2..].bytes().all(|b| b.is_ascii_digit())
    };
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(is_code).map(str::to_owned).collect()
}

#[test]
fn every_code_has_a_page_and_no_page_names_another() {
    let known = codes(&fs::read_to_string(root().join("engine/runbook/src/codes.rs")).unwrap());
    assert!(known.len() > 30, "{known:?}");
    for code in &known {
        let page = root().join(format!("docs/errors/{code}.md"));
        assert!(page.exists(), "{} is missing", page.display());
    }
    for page in files("md") {
        let named = codes(&fs::read_to_string(&page).unwrap());
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{} names {unknown:?}", page.display());
    }
}

/// The workspace crates that a manifest's `[dependencies]` name.
fn depends_on(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]" && line.starts_with("backout-") {
            let end = line.find(['.', ' ', '=']).unwrap();
            found.insert(line["backout-".len()..end].to_owned());
        }
    }
    found
}

#[test]
fn the_arrows_between_the_crates_are_those_of_the_architecture() {
    let mut arrows = BTreeMap::new();
    for parent in ["engine", "plugins"] {
        for entry in fs::read_dir(root().join(parent)).unwrap() {
            let folder = entry.unwrap().path();
            let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
            let name = if parent == "plugins" { format!("plugin-{name}") } else { name };
            arrows.insert(name, depends_on(&manifest));
        }
    }
    let cli = arrows.remove("cli").unwrap();
    for (name, found) in &arrows {
        let allowed: &[&str] = match name.as_str() {
            "core" => &[],
            "runbook" | "store" | "plugin-api" => &["core"],
            "runtime" => &["core", "store", "plugin-api"],
            "access" => &["core", "runbook"],
            "server" => &["core", "store", "runtime", "runbook", "plugin-api", "access"],
            "page" => &["core", "runbook", "store", "runtime", "access", "server"],
            "report" | "watch" => &["core", "server"],
            "telemetry" => &["core", "store", "runtime"],
            "tabletop" => &["core", "runbook", "store"],
            plugin if plugin.starts_with("plugin-") => &["plugin-api"],
            other => panic!("{other} has no place in docs/ARCHITECTURE.md"),
        };
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        let wrong: Vec<_> = found.iter().filter(|name| !allowed.contains(name)).collect();
        assert!(wrong.is_empty(), "{name} depends on {wrong:?}");
    }
    let plugins: Vec<_> = arrows.keys().filter(|name| name.starts_with("plugin-")).collect();
    assert!(plugins.len() > 6, "{plugins:?}");
    for plugin in plugins {
        assert!(cli.contains(plugin), "the cli does not register {plugin}");
    }
}

#[test]
fn every_example_is_valid() {
    let env = TestEnv::new();
    let examples: Vec<_> = files("ron")
        .into_iter()
        .filter(|path| path.parent().unwrap().ends_with("runbooks"))
        // What the releases beside them are made of; `check` reads it with those that name one.
        .filter(|path| !path.ends_with("releases.ron"))
        .collect();
    assert!(examples.len() >= 6, "{examples:?}");
    let said = env.backout([PathBuf::from("check")].into_iter().chain(examples.clone())).exits(0);
    assert_eq!(said.out.lines().count(), examples.len(), "{}", said.out);
    assert_eq!(said.err, "", "no example has a warning");
    let index = fs::read_to_string(root().join("runbooks/README.md")).unwrap();
    for example in examples {
        let name = example.file_name().unwrap().to_str().unwrap();
        assert!(index.contains(name), "{name} is not in runbooks/README.md");
        let drawn = env.backout([Path::new("graph"), &example]).exits(0);
        assert!(!drawn.out.is_empty(), "{name}");
    }
}

#[test]
fn the_exit_codes_of_the_operating_page_are_those_of_the_command() {
    let rows = |page: &str| -> Vec<String> {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let is_code = |line: &&str| {
            let first = line.strip_prefix("| ").and_then(|rest| rest.split(' ').next());
            first.is_some_and(|first| first.parse::<u8>().is_ok())
        };
        text.lines().filter(is_code).map(str::to_owned).collect()
    };
    assert_eq!(rows("docs/operating.md"), rows("docs/reference/cli.md"));
}

#[test]
fn every_action_stands_on_the_page_of_guarantees() {
    let env = TestEnv::new();
    let actions = env.backout(["plugins", "--json"]).exits(0).json();
    let page = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let names: Vec<_> = actions.as_array().unwrap().iter().map(|a| &a["action"]).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let name = name.as_str().unwrap();
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/guarantees.md");
    }
}

/// Runs an example with parameters.
fn run(env: &TestEnv, example: &str, params: &[(&str, &str)]) -> Said {
    let file = root().join("runbooks").join(example).display().to_string();
    let mut args = vec!["run".to_owned(), file, "--yes".to_owned()];
    for (name, value) in params {
        args.extend(["-p".to_owned(), format!("{name}={value}")]);
    }
    env.backout(args)
}

#[test]
fn the_first_example_runs() {
    let env = TestEnv::new();
    run(&env, "hello.ron", &[("pause", "10ms")]).exits(0);
}

#[test]
fn the_example_of_a_command_runs_and_is_undone() {
    let env = TestEnv::new();
    env.write("conf-1.4.1", "old");
    env.write("conf-1.4.2", "new");
    let link = env.path("conf");
    std::os::unix::fs::symlink("conf-1.4.2", &link).unwrap();
    let folder = link.parent().unwrap().to_str().unwrap();
    run(&env, "command.ron", &[("folder", folder)]).exits(0);
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("conf-1.4.1"));
    env.backout(["undo", "latest", "--reason", "it was the cache"]);
    env.backout(["resume", "latest"]);
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("conf-1.4.2"));
}

#[test]
fn the_example_of_instances_touches_each_of_them() {
    let env = TestEnv::new();
    let state = env.path("state");
    let params = [("state", state.to_str().unwrap()), ("instances", r#"["x", "y"]"#)];
    run(&env, "instances.ron", &params).exits(0);
    assert!(state.join("x").exists() && state.join("y").exists());
    let status = env.status("latest");
    let steps: Vec<_> =
        status["steps"].as_array().unwrap().iter().map(|s| s["id"].clone()).collect();
    assert_eq!(steps, ["folder", "restart[x]", "restart[y]", "all_there"]);
}

/// A payment service that keeps what it was sent: answers until the process of the test ends.
fn payments() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keeps = seen.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            answer(connection.unwrap(), &keeps);
        }
    });
    (url, seen)
}

fn answer(mut connection: TcpStream, seen: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && connection.read(&mut byte).unwrap() == 1 {
        request.extend(byte);
    }
    let request = String::from_utf8(request).unwrap().to_lowercase();
    let length = request.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    connection.read_exact(&mut body).unwrap();
    let mut seen = seen.lock().unwrap();
    let is_gone = seen.iter().any(|request: &String| request.starts_with("delete"));
    let status = match request.split(' ').next() {
        Some("post") => "201 Created",
        Some("get") if request.contains("/hooks/") && is_gone => "404 Not Found",
        _ => "200 OK",
    };
    seen.push(request);
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
    connection.write_all(head.as_bytes()).unwrap();
}

#[test]
fn the_example_of_requests_sends_each_effect_once_and_keeps_no_secret() {
    let env = TestEnv::new();
    let (url, seen) = payments();
    let file = root().join("runbooks/keyed.ron");
    let params = format!("url={url}");
    let args = ["run", file.to_str().unwrap(), "--yes", "-p", &params];
    let said = env.backout_with(args, "PAYMENTS_TOKEN", "s3cret-of-the-test").exits(0);
    let seen = seen.lock().unwrap();
    let sent = |method: &str| seen.iter().filter(|r| r.starts_with(method)).collect::<Vec<_>>();
    assert_eq!((sent("post").len(), sent("delete").len()), (1, 1), "{seen:?}");
    assert!(sent("post")[0].contains("idempotency-key: "), "{seen:?}");
    assert!(sent("post")[0].contains("authorization: bearer s3cret-of-the-test"), "{seen:?}");
    let history = env.backout(["history", "latest", "--json"]).exits(0);
    for text in [&said.out, &said.err, &history.out] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}
