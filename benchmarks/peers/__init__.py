"""The same work with the packages of others; each module is imported in that package's own environment only."""
