"""Values: they start no task and know no other part of hostkit."""
