"""What an operator sees: instruments, the exporter, dashboards, rules and reports."""
