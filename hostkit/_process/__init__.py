"""A host that owns its process: signals, exit, threads."""
