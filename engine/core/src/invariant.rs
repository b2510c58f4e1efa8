//! What is true of every state. Asserted after every event in tests and on load.
