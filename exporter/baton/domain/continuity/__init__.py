"""Continuity: nothing lost, nothing done twice, nobody superseded, judged from the ledger."""
