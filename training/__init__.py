"""What train.py is made of: the tasks, optimisers and averages, checkpoints."""
