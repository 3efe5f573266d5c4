"""Shared by all commands: errors in one line, options, files that are written atomically."""
