//! Style and script, built into the binary. Their address carries their digest, so that a browser
//! keeps them for ever and a new release is seen at once.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use backout_core::contract::hex;
use sha2::{Digest, Sha256};

/// Characters of a digest in an address.
const DIGEST_CHARS: usize = 16;

/// One file.
pub(crate) struct Asset {
    pub(crate) address: String,
    kind: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(name: &str, ending: &str, kind: &'static str, text: &'static str) -> Self {
        let digest: String = hex(&Sha256::digest(text)).chars().take(DIGEST_CHARS).collect();
        Self { address: format!("/page/{name}-{digest}.{ending}"), kind, text }
    }
}

/// The style.
pub(crate) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("style", "css", "text/css; charset=utf-8", include_str!("assets/page.css"))
});

/// The script.
pub(crate) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("live", "js", "text/javascript; charset=utf-8", include_str!("assets/page.js"))
});

/// The sign in a browser's tab.
pub(crate) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")));

/// Answers with one of them.
pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    let all = [&*STYLE, &*SCRIPT, &*ICON];
    let is_it = |asset: &&&Asset| asset.address.strip_prefix("/page/") == Some(name.as_str());
    match all.iter().find(is_it) {
        Some(asset) => {
            let kept = "public, max-age=31536000, immutable";
            ([(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, kept)], asset.text)
                .into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
