"""The simulator: production's worker, store and fence in virtual time, in one thread."""
