"""The fleet band: the store, the fenced saver, evidence of death, the worker."""
