"""From the scores of a run to its leaderboard: pure functions on tables, without a look at the store.

``settings`` says how to compare and imports nothing heavy; ``compare`` makes the leaderboard, ``write`` its files,
``tables`` the tables that a reader sees, ``terminal`` and ``markdown`` (and ``report``) show them.
"""
