//! `library-migrate LIBRARY VERB URL FOLDER`: migrates a database by the library of sqlx, diesel or
//! refinery, as a service that embeds it does.
//!
//! `up` applies what a folder has, `applied` prints the versions of the folder that the library has as
//! applied, one a line, and `down` takes the newest back. Only the tests of Backout use it.

#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;

mod by_diesel;
mod by_refinery;
mod by_sqlx;

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A library that migrates.
trait Library {
    /// Applies what is not applied yet.
    fn up(&mut self) -> Done<()>;

    /// The versions of the folder that are applied, as their files say.
    fn applied(&mut self) -> Done<Vec<String>>;

    /// Takes the newest one back.
    fn down(&mut self) -> Done<()>;
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(versions) => {
            for version in versions {
                println!("{version}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Done<Vec<String>> {
    let [library, verb, url, folder] = args else {
        return Err("library-migrate sqlx|diesel|refinery up|applied|down URL FOLDER".into());
    };
    let mut library: Box<dyn Library> = match library.as_str() {
        "sqlx" => by_sqlx::connect(url, folder)?,
        "diesel" => by_diesel::connect(url, folder)?,
        "refinery" => by_refinery::connect(url, folder)?,
        other => return Err(format!("no library {other}").into()),
    };
    match verb.as_str() {
        "up" => library.up().map(|()| Vec::new()),
        "applied" => library.applied(),
        "down" => library.down().map(|()| Vec::new()),
        other => Err(format!("no verb {other}").into()),
    }
}
