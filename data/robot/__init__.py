"""Robot data: Meta-World as an environment, scripted policies, and episodes as LeRobotDataset folders."""
