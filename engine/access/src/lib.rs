//! Who may do what: tokens, client certificates and OIDC issuers say who asks; one table of roles
//! and the policy file say what that person may.
//!
//! [`layer::guard`] puts a [`Who`] into the extensions of every request that it lets through. The
//! routes ask it before they act: [`Who::may_start`], [`Who::may_ask`]; and take their cause from
//! it: [`Who::cause`].

pub mod layer;
mod login;
pub mod oidc;
pub mod parts;
pub mod policy;
mod refusal;
mod role;
pub mod rules;
pub mod tls;
pub mod token;
pub mod tokens;
mod who;

pub use layer::{Guard, guard};
pub use policy::Policy;
pub use refusal::Refusal;
pub use role::Role;
pub use who::{GROUPS_MAX, How, May, NAME_CHARS_MAX, Who, is_name};
