"""Expression in memory and on disk: the canonical form, its means, and the files that hold it."""
