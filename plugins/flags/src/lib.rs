//! Feature flags
