"""Scenarios on real processes: real workers, real signals, real stores.

Faults come at named points of a worker's life, so a trial is trigger-deterministic: the same
faults strike at the same points. What the kernel does in between is its own affair.
"""
