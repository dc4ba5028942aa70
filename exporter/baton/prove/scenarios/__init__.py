"""Chaos scenarios: what is broken on purpose, what must follow, and how that is judged."""
