"""Value functions trained by classification: losses, configuration, models, tokenizers.

Everything here needs torch and transformers alone, and imports only its siblings:
these files travel with every checkpoint as remote code.
"""
