"""Benchmarks that need servers: ``python -m benchmarks.servers dashboard durable``."""
