"""Read predictions that were made outside the harness: files of means, changes or cells."""
