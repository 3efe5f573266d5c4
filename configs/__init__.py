"""The configuration schema and the settings of every run."""
