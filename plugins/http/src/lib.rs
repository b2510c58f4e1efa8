//! http.request
