"""What the command line runs and shows."""
