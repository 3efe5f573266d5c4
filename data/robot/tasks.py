"""The 50 tasks of Meta-World and their instructions, after the descriptions in arXiv 1910.10897, appendix A.

They are LeRobot's too, but for push-back-v3, which has the instruction of push-v3 there. Here it says pull,
so that an instruction names a task.
"""

import argparse
import textwrap
from collections.abc import Iterable
from difflib import get_close_matches

from cli.errors import InputError


INSTRUCTIONS = {
    "assembly-v3": "Pick up a nut and place it onto a peg",
    "basketball-v3": "Dunk the basketball into the basket",
    "bin-picking-v3": "Grasp the puck from one bin and place it into another bin",
    "box-close-v3": "Grasp the cover and close the box with it",
    "button-press-topdown-v3": "Press a button from the top",
    "button-press-topdown-wall-v3": "Bypass a wall and press a button from the top",
    "button-press-v3": "Press a button",
    "button-press-wall-v3": "Bypass a wall and press a button",
    "coffee-button-v3": "Push a button on the coffee machine",
    "coffee-pull-v3": "Pull a mug from a coffee machine",
    "coffee-push-v3": "Push a mug under a coffee machine",
    "dial-turn-v3": "Rotate a dial 180 degrees",
    "disassemble-v3": "Pick a nut out of a peg",
    "door-close-v3": "Close a door with a revolving joint",
    "door-lock-v3": "Lock the door by rotating the lock clockwise",
    "door-open-v3": "Open a door with a revolving joint",
    "door-unlock-v3": "Unlock the door by rotating the lock counter-clockwise",
    "drawer-close-v3": "Push and close a drawer",
    "drawer-open-v3": "Open a drawer",
    "faucet-close-v3": "Rotate the faucet clockwise",
    "faucet-open-v3": "Rotate the faucet counter-clockwise",
    "hammer-v3": "Hammer a screw on the wall",
    "hand-insert-v3": "Insert the gripper into a hole",
    "handle-press-side-v3": "Press a handle down sideways",
    "handle-press-v3": "Press a handle down",
    "handle-pull-side-v3": "Pull a handle up sideways",
    "handle-pull-v3": "Pull a handle up",
    "lever-pull-v3": "Pull a lever down 90 degrees",
    "peg-insert-side-v3": "Insert a peg sideways",
    "peg-unplug-side-v3": "Unplug a peg sideways",
    "pick-out-of-hole-v3": "Pick up a puck from a hole",
    "pick-place-v3": "Pick and place a puck to a goal",
    "pick-place-wall-v3": "Pick a puck, bypass a wall and place the puck",
    "plate-slide-back-side-v3": "Get a plate from the cabinet sideways",
    "plate-slide-back-v3": "Get a plate from the cabinet",
    "plate-slide-side-v3": "Slide a plate into a cabinet sideways",
    "plate-slide-v3": "Slide a plate into a cabinet",
    "push-back-v3": "Pull a puck to a goal",
    "push-v3": "Push the puck to a goal",
    "push-wall-v3": "Bypass a wall and push a puck to a goal",
    "reach-v3": "Reach a goal position",
    "reach-wall-v3": "Bypass a wall and reach a goal",
    "shelf-place-v3": "Pick and place a puck onto a shelf",
    "soccer-v3": "Kick a soccer into the goal",
    "stick-pull-v3": "Grasp a stick and pull a box with the stick",
    "stick-push-v3": "Grasp a stick and push a box using the stick",
    "sweep-into-v3": "Sweep a puck into a hole",
    "sweep-v3": "Sweep a puck off the table",
    "window-close-v3": "Push and close a window",
    "window-open-v3": "Push and open a window",
}
TASKS = tuple(INSTRUCTIONS)
TASK_OF_INSTRUCTION = {instruction: task for task, instruction in INSTRUCTIONS.items()}


class TasksHelpFormatter(argparse.HelpFormatter):
    """Help whose lines do not break at the hyphens of the names of tasks."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return textwrap.fill(
            text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )


def check_tasks(tasks: Iterable[str]) -> None:
    """Raise InputError for a name that is not a task, or that is given twice."""
    seen = set()
    for task in tasks:
        if task not in INSTRUCTIONS:
            nearest = get_close_matches(task, TASKS, n=3, cutoff=0.4)
            meant = f"did you mean {' or '.join(nearest)}?" if nearest else f"names are like {TASKS[0]}"
            raise InputError(f"Meta-World has no task {task!r}: {meant}")
        if task in seen:
            raise InputError(f"the task {task} is given twice: give it once")
        seen.add(task)


def tasks_of(instructions: Iterable[str]) -> list[str]:
    """Return the task of each instruction. Raises InputError for one that no task has."""
    instructions = list(instructions)
    if unknown := [text for text in instructions if text not in TASK_OF_INSTRUCTION]:
        raise InputError(f"the simulator has no task with the instruction {unknown[0]!r}")
    return [TASK_OF_INSTRUCTION[text] for text in instructions]


def instruction_of(task: str) -> str:
    """Return the sentence that tells a robot to do the task."""
    check_tasks([task])
    return INSTRUCTIONS[task]
