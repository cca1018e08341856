"""What a screen is and what it can show, before a run: the facts of `pertharness data check`, and their page.

``read`` has them found by a process of its own, ``record`` takes them from a dataset of the store; ``tasks`` works out
what the splits hold out, ``gaps`` what is missing and what to change, ``page`` lays it all out.
"""
