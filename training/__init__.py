"""The parts of train.py: tasks, optimisers, checkpoints, publishing."""
