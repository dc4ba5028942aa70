"""The demo: a small fleet over real work, faults on purpose, and a verdict.

``play.py`` puts it together. Everything it starts is a process of its own, as in production.
"""
