"""The functions of ``import pertharness``: runs, data, splits and scores without the command line."""
