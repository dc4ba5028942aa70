"""The recovery report: what happened, whether anything was lost, and what to do, from the ledger.

``document.build`` makes it from events alone, in plain values; ``markdown`` and ``page`` render
these. The same events give the same bytes.
"""
