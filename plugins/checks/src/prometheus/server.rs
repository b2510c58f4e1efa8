//! Asking a Prometheus.

use backout_plugin_api::look::{refused, unreachable};
use backout_plugin_api::web::{self, Access, Ask};
use backout_plugin_api::{Context, PrepareFailure};
use reqwest::Url;

use super::answer::{self, Nothing, Series};
use super::baseline::Span;

/// Bytes of an answer: a thousand series with all their labels.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) struct Server {
    url: String,
    access: Access,
}

impl Server {
    pub(super) fn new(url: &str, access: Access) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), access }
    }

    /// The series at one moment; now by the server's clock where none is given.
    pub(super) async fn instant(
        &self,
        ctx: &Context,
        query: &str,
        at_ms: Option<i64>,
    ) -> Result<Vec<Series>, PrepareFailure> {
        let mut asked = vec![("query", query.to_owned())];
        asked.extend(at_ms.map(|ms| ("time", seconds(ms))));
        let body = self.ask(ctx, "query", &asked).await?;
        answer::instant(&body).map_err(|nothing| self.nothing(nothing))
    }

    /// The points of one series over a span.
    pub(super) async fn range(
        &self,
        ctx: &Context,
        query: &str,
        span: &Span,
    ) -> Result<Vec<f64>, PrepareFailure> {
        let asked = [
            ("query", query.to_owned()),
            ("start", seconds(span.from_ms)),
            ("end", seconds(span.to_ms)),
            ("step", seconds(span.step_ms)),
        ];
        let body = self.ask(ctx, "query_range", &asked).await?;
        answer::range(&body).map_err(|nothing| self.nothing(nothing))
    }

    async fn ask(
        &self,
        ctx: &Context,
        what: &str,
        asked: &[(&str, String)],
    ) -> Result<String, PrepareFailure> {
        let url = format!("{}/api/v1/{what}", self.url);
        let url = Url::parse_with_params(&url, asked)
            .map_err(|error| refused(format!("{}: this is no URL: {error}", self.url)))?;
        let answer = web::read(ctx, &Ask::get(url, self.access.clone()), ANSWER_BYTES_MAX).await?;
        match answer.status {
            // An error in the query stands in the body.
            200 | 400 | 422 if answer.whole => Ok(answer.body),
            401 | 403 => Err(refused(format!("{}: {}", self.url, answer.says()))),
            _ => Err(unreachable(format!("{}: {}", self.url, answer.says()))),
        }
    }

    fn nothing(&self, nothing: Nothing) -> PrepareFailure {
        match nothing {
            Nothing::Wrong(why) => refused(format!("{}: {why}", self.url)),
            Nothing::NoData(why) => unreachable(format!("{}: {why}", self.url)),
        }
    }
}

/// Milliseconds as Prometheus writes them.
fn seconds(ms: i64) -> String {
    format!("{}{}.{:03}", if ms < 0 { "-" } else { "" }, (ms / 1_000).abs(), (ms % 1_000).abs())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_written_in_seconds() {
        assert_eq!(seconds(1_767_225_600_250), "1767225600.250");
        assert_eq!(seconds(-1_500), "-1.500");
        assert_eq!(seconds(0), "0.000");
    }
}
