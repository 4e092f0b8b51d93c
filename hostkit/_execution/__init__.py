"""How user code is run: tasks, threads, calls, timers."""
