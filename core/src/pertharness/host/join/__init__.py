"""What comes after the jobs: the records of a run joined into tables."""
