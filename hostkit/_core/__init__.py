"""The host: services that start in order, are kept running, and stop in reverse.

**A root task.** A task group belongs to the task that has entered it: services in a group of the caller's would be
cancelled with the caller, all at once, and could not be left from another task. So each lifecycle has a root task of
its own (`EventLoop.spawn`), outside every scope of the caller's, and `Host.start`, `stop` and ``async with`` only wait
for its events. It keeps every failure and never raises, as a root task that raises would take the loop with it.

**The shield.** When a trio loop ends, it cancels the root task; when a service leaves a scope open, anyio cancels the
group of all services. Both shall be an ordered stop, not the end of every task in one instant. So the task that
drives the lifecycle is shielded twice, from the loop and from the group, and two small unshielded tasks beside it do
nothing but notice these cancellations and begin the stop. On asyncio the end of the loop cancels each task by itself,
whatever its scopes; there only the order of the ``stop()`` hooks can be kept.

**One task for each run.** ``start()``, ``execute()`` and ``stop()`` of a run are awaited in one task, one after the
other, because what ``start()`` opens (a task group, a scope, a context variable) ``stop()`` must be able to close. A
restart is a new run in a new task. `ServiceRun` knows how the hooks are awaited and cancelled; `Supervisor` decides by
the policies what the end of a run means; the `Lifecycle` alone hears when a service is ready or has ended, and passes
that on to `start_services` and `Shutdown`.

**The stop.** t₀ is the instant of the request, t₁ = t₀ + ``shutdown_timeout``, t₂ = t₁ + ``cancellation_timeout``; a
second signal moves t₁ to now.

1. *Ask*, until t₁: last step first, each service's token is set; when ``execute`` has ended, ``stop()`` is awaited;
   when all services of the step have ended, the step before it has its turn. A start that is pending at t₀ is
   cancelled, and a service past its ``stop_timeout``; each has ``cancellation_timeout`` to end.
2. *Cancel*, until t₂: last step first, every service that still runs is cancelled, and waited for at most an equal
   share of the time that is left, so that none is starved. What was cancelled late is a failure of the host.
3. *Abandon*, at t₂: what ignores its cancellation is named and left behind; the host has ended. A host that owns its
   process leaves it then, an embedded one raises `ServiceStuckError`.

The end of a service gives the turn to the next step where it is noticed, not in the root task: ten thousand services
would wake that ten thousand times.
"""
