"""Facts on a screen before a run, for `pertharness data check`, and the page that shows them.

``inspect_file`` reads them in a process of its own, and ``record`` takes them from a dataset of the store. ``tasks``
finds what the splits hold out, ``gaps`` what is missing and what to change, and ``page`` lays out the page.
"""
