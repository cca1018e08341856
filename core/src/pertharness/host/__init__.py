"""The host side: store, splits, plan, runner, leaderboard, report and commands. It never imports a plugin."""
