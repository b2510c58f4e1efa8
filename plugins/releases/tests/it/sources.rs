//! Releases that are not here yet: from a file and from a web server.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, Cuts, check};
use backout_plugin_api::files::{Point, sha256_hex};
use backout_plugin_api::{Action, Outcome};
use backout_plugin_releases::ReleasesActivate;
use backout_test_targets::web::{Silent, Trickle, Web, closed};
use serde_json::{Value, json};

use super::{Root, call, context, prepare};

/// A `tar.gz` with one folder that holds `bin/shop`.
fn archive(text: &str) -> Vec<u8> {
    let zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(zipped);
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o755);
    builder.append_data(&mut header, "shop-1.3.0/bin/shop", text.as_bytes()).unwrap();
    builder.into_inner().unwrap().finish().unwrap()
}

/// A root that lacks 1.3.0, and an input that says where it is.
fn input(root: &Root, at: &str, sha256: &str) -> Value {
    json!({
        "root": root.path(),
        "release": "1.3.0",
        "artifact": {"path": "bin/shop", "sha256": sha256_hex(b"1.3.0")},
        "source": {"at": at, "sha256": sha256, "strip": 1},
    })
}

fn kept(root: &Root, bytes: &[u8]) -> (PathBuf, String) {
    let path = root.path().join("shop-1.3.0.tar.gz");
    std::fs::write(&path, bytes).unwrap();
    (path, sha256_hex(bytes))
}

async fn apply(input: &Value) -> Outcome {
    let prepared = prepare(input).await.unwrap();
    ReleasesActivate::default().apply(&context(), &call(input, prepared, 1)).await
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_release_is_unpacked_and_linked_and_nothing_else_stays() {
    let root = Root::new();
    let (path, sha256) = kept(&root, &archive("1.3.0"));
    let input = input(&root, path.to_str().unwrap(), &sha256);
    let prepared = prepare(&input).await.unwrap();
    assert!(prepared.difference()[0].contains(&sha256), "{:?}", prepared.difference());
    let outcome = apply(&input).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(root.served(), "1.3.0");
    assert_eq!(names(&root.path().join("releases")), ["1.3.0", "1.4.2", "1.5.0"]);
    assert_eq!(names(&root.path().join("releases/1.3.0")), [".backout-release.json", "bin"]);
    assert!(prepare(&input).await.unwrap().is_satisfied());
}

#[tokio::test]
async fn a_store_is_believed_only_by_the_digest() {
    let (root, web) = (Root::new(), Web::start().unwrap());
    let bytes = archive("1.3.0");
    let at = web.url("/{release}/shop.tar.gz");
    let input = input(&root, &at, &sha256_hex(&bytes));
    web.say(404, "");
    let failure = prepare(&input).await.unwrap_err();
    assert!(failure.reason().contains("answered 404"), "{}", failure.reason());
    web.put("/1.3.0/shop.tar.gz", &archive("1.3.0 with a worm"));
    let outcome = apply(&input).await;
    let Outcome::Refused { reason } = &outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("not that release"), "{reason}");
    assert_eq!(names(&root.path().join("releases")), ["1.4.2", "1.5.0"]);
    assert_eq!(root.served(), "1.5.0");
    web.put("/1.3.0/shop.tar.gz", &bytes);
    let outcome = apply(&input).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(root.served(), "1.3.0");
}

#[tokio::test]
async fn a_binary_and_a_zip_are_releases_too() {
    use std::os::unix::fs::PermissionsExt;
    let root = Root::new();
    let path = root.path().join("shop");
    std::fs::write(&path, "1.3.0").unwrap();
    let mut wanted = input(&root, path.to_str().unwrap(), &sha256_hex(b"1.3.0"));
    wanted["source"]["strip"] = json!(0);
    wanted["source"]["path"] = json!("bin/shop");
    let outcome = apply(&wanted).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let mode = root.path().join("current/bin/shop").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let root = Root::new();
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file("x/bin/shop", zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(b"1.3.0").unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    let path = root.path().join("shop.zip");
    std::fs::write(&path, &bytes).unwrap();
    let outcome = apply(&input(&root, path.to_str().unwrap(), &sha256_hex(&bytes))).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(root.served(), "1.3.0");
}

#[tokio::test]
async fn a_folder_from_elsewhere_is_refused_or_a_hazard() {
    let root = Root::new();
    let (path, sha256) = kept(&root, &archive("1.3.0"));
    let mut wanted = input(&root, path.to_str().unwrap(), &sha256);
    assert!(matches!(apply(&wanted).await, Outcome::Done { .. }));
    root.link("releases/1.5.0");
    wanted["source"]["sha256"] = json!("0".repeat(64));
    let failure = prepare(&wanted).await.unwrap_err();
    assert!(failure.reason().contains("another source"), "{}", failure.reason());
    wanted["release"] = json!("1.4.2");
    wanted["artifact"] = Value::Null;
    let prepared = prepare(&wanted).await.unwrap();
    assert_eq!(prepared.hazards[0].code, "unproven-release");
}

#[tokio::test]
async fn an_archive_that_leaves_the_folder_is_refused_and_nothing_is_linked() {
    let root = Root::new();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_old();
    let name = b"x/../../../evil";
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_size(1);
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    let bytes = builder.into_inner().unwrap();
    let path = root.path().join("shop.tar");
    std::fs::write(&path, &bytes).unwrap();
    let outcome = apply(&input(&root, path.to_str().unwrap(), &sha256_hex(&bytes))).await;
    let Outcome::Refused { reason } = &outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("leaves the release's folder"), "{reason}");
    assert_eq!(root.served(), "1.5.0");
    assert_eq!(names(&root.path().join("releases")), ["1.4.2", "1.5.0"]);
}

#[tokio::test]
async fn what_an_engine_that_died_left_is_cleared() {
    let root = Root::new();
    let litter = root.path().join("releases/.1.3.0.backout-4194303-1-0");
    std::fs::create_dir(&litter).unwrap();
    let (path, sha256) = kept(&root, &archive("1.3.0"));
    let outcome = apply(&input(&root, path.to_str().unwrap(), &sha256)).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert!(!litter.exists());
}

#[tokio::test]
async fn each_window_is_passed_again_with_one_release() {
    let by = "a stop in the same process";
    let mut cuts = Cuts::new("releases.activate", "an archive", by);
    for point in Point::ALL {
        let root = Root::new();
        let (path, sha256) = kept(&root, &archive("1.3.0"));
        let input = input(&root, path.to_str().unwrap(), &sha256);
        let activate = ReleasesActivate::default().with_fault(move |at| at == point);
        let made = call(&input, prepare(&input).await.unwrap(), 1);
        let outcome = activate.apply(&context(), &made).await;
        assert!(matches!(outcome, Outcome::Unclear { .. }), "{point:?}: {outcome:?}");
        let activate = ReleasesActivate::default();
        let settled = activate.settle(&context(), &made).await;
        let mut again = made.clone();
        again.fence.dispatch += 1;
        let outcome = activate.apply(&context(), &again).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{settled:?}, then {outcome:?}");
        assert_eq!(root.served(), "1.3.0");
        cuts.add(&point, Cuts::ONCE);
    }
    cuts.assert_kept();
}

struct StoreCase {
    root: Root,
    web: Web,
    silent: Silent,
    slow: Trickle,
    strict: Web,
    action: ReleasesActivate,
}

impl StoreCase {
    fn new() -> Self {
        let web = Web::start().unwrap();
        web.put("/shop.tar.gz", &archive("1.3.0"));
        let strict = Web::start().unwrap();
        strict.say(401, "who are you?");
        let (silent, slow) = (Silent::start().unwrap(), Trickle::web().unwrap());
        Self { root: Root::new(), web, silent, slow, strict, action: ReleasesActivate::default() }
    }

    fn at(&self, url: &str) -> Value {
        input(&self.root, url, &sha256_hex(&archive("1.3.0")))
    }
}

#[async_trait]
impl Case for StoreCase {
    fn action(&self) -> &dyn Action {
        &self.action
    }

    fn input(&self) -> Value {
        self.at(&self.web.url("/shop.tar.gz"))
    }

    fn scratch(&self) -> PathBuf {
        self.root.path().join("scratch")
    }

    async fn observe(&self) -> Value {
        let inode = self.root.path().join("current").symlink_metadata().unwrap().ino();
        json!({"link": self.root.current(), "inode": inode})
    }

    async fn image(&self) -> Value {
        json!(self.root.current())
    }

    async fn interfere(&self) -> bool {
        self.root.link("releases/1.4.2");
        true
    }

    fn unreachable(&self) -> Option<Value> {
        Some(self.at(&format!("http://{}/shop.tar.gz", closed().unwrap())))
    }

    fn silent(&self) -> Option<Value> {
        Some(self.at(&format!("http://{}/shop.tar.gz", self.silent.address())))
    }

    fn slow(&self) -> Option<Value> {
        Some(self.at(&format!("http://{}/shop.tar.gz", self.slow.address())))
    }

    fn denied(&self) -> Option<Value> {
        Some(self.at(&self.strict.url("/shop.tar.gz")))
    }
}

#[tokio::test]
async fn activate_from_a_store_conforms() {
    check(async || StoreCase::new()).await.assert_kept_on("an archive in a web store");
}
