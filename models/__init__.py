"""Value functions trained by classification: losses, Q-learning, models, tokenizers.

`pip install .` installs this folder as the package `stop_regressing`. value_losses.py and q_learning.py need
torch alone and chess_tokens.py numpy alone; models and tokenizers also need transformers. Modules import only
their siblings, because they travel with every published model as remote code, and this file imports nothing,
so that losses and tokens load without transformers.
"""
