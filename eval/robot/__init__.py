"""The robot: how often a model, or a scripted policy, does its tasks in the simulator."""
