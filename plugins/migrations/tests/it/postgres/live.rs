//! Under live traffic.
