//! The engine's face over a socket
