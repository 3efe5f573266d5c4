"""Studies: variants of a configuration, trained with several seeds, measured and compared."""
