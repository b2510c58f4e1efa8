//! A web server's folder as JSON, as nginx lists it
//! (<https://nginx.org/en/docs/http/ngx_http_autoindex_module.html>).

use backout_plugin_api::look::{refused, unreachable};
use backout_plugin_api::web::{self, Access, Ask};
use backout_plugin_api::{Context, PrepareFailure};
use serde::Deserialize;

use crate::place::{Backup, http_date_ms};

/// Bytes of a list: some ten thousand files.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Deserialize)]
struct Entry {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    mtime: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

/// The newest file of a folder whose name fits.
pub(crate) async fn newest(
    ctx: &Context,
    url: &str,
    name: &str,
    access: Access,
) -> Result<Option<Backup>, PrepareFailure> {
    let answer = web::read(ctx, &Ask::get(url, access), LIST_BYTES_MAX).await?;
    let shown = web::shown(url);
    match answer.status {
        200 if answer.whole => {}
        200 => {
            let limit = format!("longer than LIST_BYTES_MAX ({LIST_BYTES_MAX} bytes)");
            return Err(refused(format!("{shown}: its list is {limit}")));
        }
        401 | 403 => return Err(refused(format!("{shown}: {}", answer.says()))),
        _ => return Err(unreachable(format!("{shown}: {}", answer.says()))),
    }
    let found = read(&answer.body, name).map_err(|why| refused(format!("{shown}: {why}")))?;
    let folder = shown.trim_end_matches('/');
    Ok(found.map(|backup| Backup { name: format!("{folder}/{}", backup.name), ..backup }))
}

fn read(body: &str, name: &str) -> Result<Option<Backup>, String> {
    let pattern = glob::Pattern::new(name).map_err(|error| error.to_string())?;
    let entries: Vec<Entry> = serde_json::from_str(body)
        .map_err(|error| format!("this is no list of files as nginx writes it: {error}"))?;
    let mut newest: Option<Backup> = None;
    for entry in entries {
        if entry.kind != "file" || entry.name.ends_with(".sha256") || !pattern.matches(&entry.name)
        {
            continue;
        }
        let at_ms = entry.mtime.as_deref().and_then(http_date_ms);
        let (Some(at_ms), Some(bytes)) = (at_ms, entry.size) else {
            return Err(format!("it does not say the time and size of {}", entry.name));
        };
        if newest.as_ref().is_none_or(|known| at_ms > known.at_ms) {
            newest = Some(Backup { name: entry.name, at_ms, bytes });
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_newest_that_fits_is_found() {
        let list = r#"[
            {"name": "old", "type": "directory", "mtime": "Thu, 01 Jan 1970 00:00:50 GMT"},
            {"name": "a.dump", "type": "file", "mtime": "Thu, 01 Jan 1970 00:00:10 GMT", "size": 5},
            {"name": "b.dump", "type": "file", "mtime": "Thu, 01 Jan 1970 00:00:20 GMT", "size": 6},
            {"name": "b.dump.sha256", "type": "file", "mtime": "Thu, 01 Jan 1970 00:00:30 GMT", "size": 64},
            {"name": "c.log", "type": "file", "mtime": "Thu, 01 Jan 1970 00:00:40 GMT", "size": 7}
        ]"#;
        let newest = Backup { name: "b.dump".to_owned(), at_ms: 20_000, bytes: 6 };
        assert_eq!(read(list, "*.dump"), Ok(Some(newest)));
        assert_eq!(read(list, "*.tar"), Ok(None));
        assert_eq!(read("[]", "*"), Ok(None));
        assert!(read("<html>", "*").is_err());
        assert!(read(r#"[{"name": "a", "type": "file"}]"#, "*").is_err());
    }

    proptest! {
        #[test]
        fn any_list_is_read_or_refused(
            text in ".{0,60}",
            mtime in ".{0,40}",
            name in "[a-z*?\\[\\]]{0,6}",
        ) {
            // Any answer will do; what matters is that there is one.
            drop(read(&text, &name));
            let list = serde_json::json!([{"name": "a", "type": "file", "mtime": mtime, "size": 1}]);
            drop(read(&list.to_string(), &name));
        }
    }
}
