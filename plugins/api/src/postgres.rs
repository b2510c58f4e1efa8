//! What actions that reach PostgreSQL by a URL share.

/// The options of a URL that are taken, in sqlx's and libpq's words. sqlx writes any other to the log,
/// with its value, which may be a secret.
const OPTIONS: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Whether an option of a URL, `name=value`, is one that is taken.
pub fn takes(option: &str) -> bool {
    let name = option.split('=').next().unwrap_or_default();
    OPTIONS.contains(&name) || name.starts_with("options[")
}

#[cfg(test)]
mod tests {
    use super::takes;

    #[test]
    fn what_would_stand_in_a_log_is_not_taken() {
        assert!(takes("sslmode=verify-full") && takes("options[search_path]=shop"));
        assert!(!takes("api_key=s3cret") && !takes("") && !takes("sslmodes=x"));
    }
}
