//! The plugins as the runbook reader knows them.

pub(crate) use backout_server::catalogue::Actions;
