//! The master scenario events list: all that is planned to happen, as a table.

use serde::{Deserialize, Serialize};

use super::{Expected, On, Scenario, Timed};

/// One line of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// From 1 on.
    pub number: usize,
    /// The inject's or expected action's name.
    pub id: String,
    /// When, in words: `+05:00`, `switch is running`, `by hand`.
    pub time: String,
    /// Who says it.
    pub from: String,
    /// To whom.
    pub to: String,
    /// By what means.
    pub by: String,
    /// What those who take part read, or what happens.
    pub text: String,
    /// What they should do.
    pub expected: String,
    /// The objective.
    pub objective: String,
    /// When it was seen; empty before.
    pub seen: String,
}

/// The list of a scenario: what has a time first, in its order.
pub fn msel(scenario: &Scenario) -> Vec<Row> {
    let mut injects: Vec<_> = scenario.injects.iter().collect();
    let order = |at: &Option<String>| at.as_ref().map_or(u64::MAX, |at| at.ms());
    injects.sort_by_key(|inject| order(&inject.at));
    let mut rows: Vec<Row> = injects
        .into_iter()
        .map(|inject| Row {
            id: inject.id.clone(),
            time: moment(inject.at.as_deref(), inject.on.as_ref()),
            from: inject.from.clone(),
            to: inject.to.clone(),
            by: inject.by.clone(),
            text: joined(&inject.text, inject.what.as_ref().map(super::What::sentence)),
            expected: follows(scenario, &inject.id),
            objective: inject.objective.clone().unwrap_or_default(),
            ..Row::default()
        })
        .collect();
    rows.extend(scenario.expected.iter().filter(|one| of_inject(one).is_none()).map(|one| Row {
        id: one.id.clone(),
        time: moment(None, one.on.as_ref()).replace("by hand", "+00:00"),
        expected: one.sentence(),
        objective: one.objective.clone().unwrap_or_default(),
        ..Row::default()
    }));
    for (at, row) in rows.iter_mut().enumerate() {
        row.number = at + 1;
    }
    rows
}

fn of_inject(expected: &Expected) -> Option<&str> {
    expected.on.as_ref()?.inject.as_deref()
}

fn follows(scenario: &Scenario, inject: &str) -> String {
    let own = scenario.expected.iter().filter(|one| of_inject(one) == Some(inject));
    own.map(Expected::sentence).collect::<Vec<_>>().join("; ")
}

fn joined(text: &str, what: Option<String>) -> String {
    match what {
        Some(what) if text.is_empty() => format!("[{what}]"),
        Some(what) => format!("{text} [{what}]"),
        None => text.to_owned(),
    }
}

/// Minutes and seconds since the start.
pub(crate) fn clock(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("+{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("+{minutes:02}:{seconds:02}")
    }
}

fn moment(at: Option<&str>, on: Option<&On>) -> String {
    match (at, on) {
        (Some(at), _) => clock(at.ms()),
        (None, Some(on)) => on.sentence(),
        (None, None) => "by hand".to_owned(),
    }
}

impl On {
    /// The moment in words.
    pub fn sentence(&self) -> String {
        let mut parts = Vec::new();
        if let Some(step) = &self.step {
            parts.push(format!("{step} is {}", self.is.as_deref().unwrap_or("running")));
        }
        parts.extend(self.decision.as_ref().map(|decision| format!("decision {decision}")));
        parts.extend(self.inject.as_ref().map(|inject| format!("inject {inject}")));
        let what = parts.join(" and ");
        self.after.as_ref().map_or(what.clone(), |after| format!("{after} after {what}"))
    }
}

impl Expected {
    /// The expected action in words.
    pub fn sentence(&self) -> String {
        let what = match (&self.ask, &self.end) {
            _ if !self.text.is_empty() => self.text.clone(),
            (Some(ask), _) if self.never => format!("never {ask}{}", of(self.step.as_deref())),
            (Some(ask), _) => format!("{ask}{}", of(self.step.as_deref())),
            (None, Some(end)) => format!("the run ends {end}"),
            (None, None) => String::new(),
        };
        self.within.as_ref().map_or(what.clone(), |within| format!("{what}, within {within}"))
    }
}

fn of(step: Option<&str>) -> String {
    step.map(|step| format!(" {step}")).unwrap_or_default()
}

impl super::What {
    /// What happens, in words.
    pub fn sentence(&self) -> String {
        let for_time = |lasts: &Option<String>| {
            lasts.as_ref().map(|lasts| format!(" for {lasts}")).unwrap_or_default()
        };
        match self {
            Self::Fail(trouble) => format!("{} fails", trouble.step),
            Self::Slow(trouble) => {
                format!("{} takes {}", trouble.step, trouble.lasts.as_deref().unwrap_or("long"))
            }
            Self::Lie(trouble) => format!("{} says done and is not", trouble.step),
            Self::LoseReply(trouble) => format!("the reply of {} is lost", trouble.step),
            Self::Unreachable(trouble) => {
                format!(
                    "the target of {} does not answer{}",
                    trouble.step,
                    for_time(&trouble.lasts)
                )
            }
            Self::KillEngine(away) => format!("the engine is killed, back after {}", away.lasts),
            Self::FullDisk(away) => format!("the engine's disk is full for {}", away.lasts),
            Self::SecondRollback(trouble) => format!(
                "another rollback holds what {} locks{}",
                trouble.step,
                for_time(&trouble.lasts)
            ),
            Self::Silent(silent) => format!("{} does not answer for {}", silent.who, silent.lasts),
            Self::Flag(change) => format!("the flag {} becomes {}", change.flag, change.value),
            Self::LongTransaction(trouble) => format!(
                "a long transaction stands in the way of {}{}",
                trouble.step,
                for_time(&trouble.lasts)
            ),
        }
    }
}

const HEAD: [&str; 10] =
    ["number", "id", "time", "from", "to", "by", "text", "expected action", "objective", "seen"];

fn cells(row: &Row) -> [String; 10] {
    [
        row.number.to_string(),
        row.id.clone(),
        row.time.clone(),
        row.from.clone(),
        row.to.clone(),
        row.by.clone(),
        row.text.clone(),
        row.expected.clone(),
        row.objective.clone(),
        row.seen.clone(),
    ]
}

/// The list as CSV (RFC 4180). A cell that a spreadsheet would take for a formula begins with `'`.
pub fn csv(rows: &[Row]) -> String {
    let line = |cells: &[String; 10]| {
        let quoted: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        format!("{}\r\n", quoted.join(","))
    };
    let head = line(&HEAD.map(str::to_owned));
    rows.iter().fold(head, |text, row| text + &line(&cells(row)))
}

fn quoted(cell: &str) -> String {
    // `+05:00` is a time here; what begins so and is none could be a formula.
    let formula = cell.starts_with(['=', '-', '@']);
    let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}

/// The list as a Markdown table.
pub fn table(rows: &[Row]) -> String {
    let line = |cells: &[String; 10]| {
        let escaped: Vec<String> =
            cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        format!("| {} |\n", escaped.join(" | "))
    };
    let head = line(&HEAD.map(str::to_owned)) + &line(&HEAD.map(|_| "---".to_owned()));
    rows.iter().fold(head, |text, row| text + &line(&cells(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_formulas_are_not_run() {
        let row = Row { text: "=1+1, \"x\"".into(), time: "+05:00".into(), ..Row::default() };
        assert!(csv(&[row]).ends_with("0,,+05:00,,,,\"'=1+1, \"\"x\"\"\",,,\r\n"));
    }

    #[test]
    fn the_clock_counts_hours_only_where_there_are_some() {
        assert_eq!([clock(0), clock(65_000), clock(3_665_000)], ["+00:00", "+01:05", "+1:01:05"]);
    }
}
