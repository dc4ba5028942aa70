"""The compatibility contract: what this version promises, and the baseline it is held against."""
