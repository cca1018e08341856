"""The interface of plugins and harness: hooks, cards, jobs, labels, predictions, scores and errors."""
