//! Database migrations, by the ledgers of their tools
