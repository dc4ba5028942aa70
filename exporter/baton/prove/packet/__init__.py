"""The evidence packet on disk: gathered, derived, sealed, and verified by what it carries."""
