"""Predictions made elsewhere: files of means, changes or cells, brought into the form of the harness."""
