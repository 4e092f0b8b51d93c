"""Virtual time: hours of waiting in milliseconds, to the exact second."""


def virtual_time(backend: str) -> tuple[str, dict[str, object]]:
    """Return a value for anyio's ``anyio_backend`` fixture: tests run on a clock that jumps.

    Whenever nothing is left to run, the clock jumps to the next timer. It starts at 0, and a timer comes at exactly its
    own instant. Make a new value for each event loop; for one outside pytest:

    .. code-block:: python

        backend, options = virtual_time("asyncio")
        anyio.run(main, backend=backend, backend_options=options)

    Only anyio's clock is virtual: threads and child processes live in real time, and so does ``time.monotonic()``.

    - While a call runs in a worker thread (``anyio.to_thread``, ``run_in_executor``, the sync job of a scheduler or a
      queue), the clock stands still, for five real seconds at most if a timer is pending: the call may itself be
      waiting for it. On asyncio this does not see calls that have a limiter of their own, and on neither backend
      threads that you start yourself; a `ThreadService` is tested in real time.
    - Sockets and pipes hold up no timer: what is already there is read first, what is still on its way comes late.
    - When no timer is left, worker threads, sockets and pipes are waited for as long as it takes.
    - When nothing at all is left that could wake a task, the test fails with a `DeadlockError`; after five real seconds
      if there are other threads, which might have. On trio that needs hostkit's pytest plugin, which is installed with
      hostkit; without pytest the error is the cause of a ``TrioInternalError``. A task that shields itself from its
      cancellation hangs on trio all the same.

    Args:
        backend: ``"asyncio"`` or ``"trio"``. uvloop has a clock of its own.

    Raises:
        ValueError: There is no virtual time for *backend*.
    """
    # On use: each of these imports its backend.
    if backend == "asyncio":
        from hostkit.testing import _asyncio_time

        return backend, {"loop_factory": _asyncio_time.VirtualTimeLoop}
    if backend == "trio":
        from hostkit.testing import _trio_time

        return backend, _trio_time.options()
    message = f"virtual time is for 'asyncio' and 'trio', not for {backend!r}"
    raise ValueError(message)
