"""What all commands share: errors in one line, options, files that are written atomically, tables."""
