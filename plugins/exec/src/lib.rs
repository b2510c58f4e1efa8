//! exec.run: commands under a shim that survives the engine
