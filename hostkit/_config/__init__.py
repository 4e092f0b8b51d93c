"""Options, settings and logging."""
