//! A problem as text, with the lines of the file under it.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, Severity as Level, SourceCode, SourceSpan, SpanContents, ThemeCharacters,
    ThemeStyles,
};

use crate::problem::{Problem, Severity, Source};

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal.
    pub width: usize,
    /// Whether to use colours.
    pub colour: bool,
    /// Whether to use lines and arrows beyond ASCII.
    pub unicode: bool,
}

impl Style {
    /// For files and pipes: no colour, ASCII only, 100 columns.
    pub const PLAIN: Self = Self { width: 100, colour: false, unicode: false };
}

/// The problem as miette sees it.
struct Shown<'p> {
    problem: &'p Problem,
    source: Named<'p>,
}

/// A text with its name, borrowed: a problem is drawn without a copy of the file.
struct Named<'p>(&'p Source<'p>);

impl SourceCode for Named<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.0.text.read_span(span, lines_before, lines_after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.0.name.to_owned(),
            inner.data(),
            *inner.span(),
            inner.line(),
            inner.column(),
            inner.line_count(),
        )))
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.problem.code))
    }

    fn severity(&self) -> Option<Level> {
        Some(match self.problem.severity {
            Severity::Warning => Level::Warning,
            Severity::Error => Level::Error,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        (!self.problem.labels.is_empty()).then_some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.problem.labels.is_empty() {
            return None;
        }
        let labels = self.problem.labels.iter().enumerate().map(|(at, label)| {
            let text = Some(label.text.clone());
            let length = label.span.end.saturating_sub(label.span.start);
            if at == 0 {
                LabeledSpan::new_primary_with_span(text, (label.span.start, length))
            } else {
                LabeledSpan::new(text, label.span.start, length)
            }
        });
        Some(Box::new(labels))
    }
}

/// A problem as text, ending with a line break.
pub fn render(problem: &Problem, source: &Source<'_>, style: Style) -> String {
    let characters =
        if style.unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() };
    let styles = if style.colour { ThemeStyles::ansi() } else { ThemeStyles::none() };
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme { characters, styles })
        .with_width(style.width)
        .with_links(false);
    let shown = Shown { problem, source: Named(source) };
    let mut drawn = String::new();
    match handler.render_report(&mut drawn, &shown) {
        Ok(()) => drawn,
        // A label outside of the text: the sentence alone is better than nothing.
        Err(fmt::Error) => format!("{}: {}\n", problem.code, problem.message),
    }
}
