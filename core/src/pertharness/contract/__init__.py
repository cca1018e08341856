"""What plugins and harness agree on: hooks, cards, jobs, labels, predictions, scores and errors."""
