"""The store: records by stage and key, their sums, and what may be removed."""
