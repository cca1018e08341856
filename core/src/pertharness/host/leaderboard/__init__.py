"""Turn the scores of a run into its leaderboard: pure functions on tables that never read the store.

``settings`` holds the rules of comparison and imports nothing heavy. ``compare`` makes the leaderboard, ``write`` its
files, and ``tables`` the tables that ``terminal``, ``markdown`` and ``report`` show.
"""
