//! Points inside an effect at which a debug build kills itself, so that tests can show on the real
//! binary what becomes of one half made. A release build has none.

use std::fmt::Debug;
use std::sync::Arc;

use backout_plugin_api::Action;
use backout_plugin_config::ConfigRestore;
use backout_plugin_containers::{ContainersPower, ContainersRollback};
use backout_plugin_flags::{FlagsForce, FlagsRestore};
use backout_plugin_migrations::MigrationsShift;
use backout_plugin_releases::{ReleasesActivate, ReleasesRestart};

/// The environment variable that a debug build reads: a point's name, as `Staged` or `Migrated`.
const VARIABLE: &str = "BACKOUT_TEST_CRASH_INSIDE";

/// The actions whose effects have points, dying at the one that the environment names; none where
/// it names none.
pub(crate) fn dying() -> Vec<Arc<dyn Action>> {
    let Ok(point) = std::env::var(VARIABLE) else { return Vec::new() };
    vec![
        Arc::new(FlagsForce::off().with_fault(dies_at(&point))),
        Arc::new(FlagsForce::set().with_fault(dies_at(&point))),
        Arc::new(FlagsRestore::default().with_fault(dies_at(&point))),
        Arc::new(MigrationsShift::down().with_fault(dies_at(&point))),
        Arc::new(MigrationsShift::up().with_fault(dies_at(&point))),
        Arc::new(ReleasesActivate::default().with_fault(dies_at(&point))),
        Arc::new(ReleasesRestart::default().with_fault(dies_at(&point))),
        Arc::new(ConfigRestore::default().with_fault(dies_at(&point))),
        Arc::new(ContainersRollback::with_fault(dies_at(&point))),
        Arc::new(ContainersPower::stop().with_fault(dies_at(&point))),
        Arc::new(ContainersPower::start().with_fault(dies_at(&point))),
        Arc::new(ContainersPower::restart().with_fault(dies_at(&point))),
    ]
}

fn dies_at<P: Debug>(point: &str) -> impl Fn(P) -> bool + Send + Sync + 'static {
    let point = point.to_owned();
    move |here| {
        if format!("{here:?}") == point {
            backout_runtime::crash::die();
        }
        false
    }
}
