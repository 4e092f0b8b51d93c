"""What the command line shows and runs."""
