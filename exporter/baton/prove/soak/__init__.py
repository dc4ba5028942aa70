"""The soak: seeded cycles of scenarios for hours, each checkpointed, judged as one whole."""
