"""Stopping tokens: how a service learns that it should finish."""
