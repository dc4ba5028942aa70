"""The release gate: asks Prometheus and the ledger, keeps the answers, judges what is kept."""
