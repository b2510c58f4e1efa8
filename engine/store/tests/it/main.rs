//! Tests of the store as its users see it.

mod child;
mod conformance;
mod crash;
mod damage;
mod kill;
mod lives;
mod power;
mod support;
