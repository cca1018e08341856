"""A run from recipe to leaderboard."""
