"""Measure how often a policy does its tasks in Meta-World: a trained model, or a scripted policy.

    python -m eval.robot --model runs/robot_tiny/model --episodes 100 --video robot.gif
    python -m eval.robot --policy scripted:0.5 --tasks drawer-open-v3

The scripted policy without noise, and random actions, play from the same starts as a model. With --compare,
so does another policy, and the difference is tested:

    python -m eval.robot --model runs/hl_gauss/model --compare runs/mse/model
"""

import argparse
from pathlib import Path

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from cli.errors import InputError, command
from cli.files import check_output
from cli.options import (
    add_hardware_options,
    add_json_option,
    add_seed_option,
    add_trained_model_option,
    positive_int,
    write_json,
)
from data.robot.metaworld import RobotEnv
from data.robot.simulator import import_simulator
from data.robot.tasks import INSTRUCTIONS, TASKS, TasksHelpFormatter, check_tasks
from eval.model_folder import check_model_folder, model_name
from eval.paired_comparison import compare_pairs
from eval.robot.evaluation import Results, play_episodes
from eval.robot.policy import POLICIES, Policy, make_policy
from eval.robot.video import PICTURE, Recorder


POLICY_PREFIX = "policy:"
REFERENCES = ("policy:scripted:0", "policy:random")


def parse_arguments() -> argparse.Namespace:
    policies = "; ".join(f"{spec}: {meaning}" for spec, meaning in POLICIES.items())
    parser = argparse.ArgumentParser(
        prog="python -m eval.robot",
        description="Measure how often a model, or a scripted policy, does its tasks in Meta-World, and how "
        "many decisions a success takes. For a model, the success of its training data, of the scripted "
        "policy and of random actions is shown too.",
        epilog=f"Policies: {policies}. Tasks: {', '.join(TASKS)}.",
        formatter_class=TasksHelpFormatter,
    )
    add = parser.add_argument
    player = parser.add_mutually_exclusive_group(required=True)
    add_trained_model_option(player)
    player.add_argument("--policy", metavar="POLICY", help="a scripted policy, listed below")
    add(
        "--tasks",
        type=lambda text: text.split(","),
        metavar="TASK,...",
        help="tasks of Meta-World (default: those of the model's data)",
    )
    add(
        "--episodes",
        type=positive_int,
        default=100,
        metavar="N",
        help="number of episodes of each task (default: 100)",
    )
    add(
        "--compare",
        metavar="DIR|policy:POLICY",
        help="another model or policy, which gets the same starts; tests the difference",
    )
    add("--video", type=Path, metavar="FILE.gif", help="also write some episodes as a GIF, with predictions")
    add_seed_option(parser, "starts and noise")
    add_json_option(parser)
    add_hardware_options(parser)
    arguments = parser.parse_args()
    if arguments.policy is not None and arguments.tasks is None:
        parser.error("--policy needs --tasks")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    for output in (arguments.json, arguments.video):
        if output:
            check_output(output, overwrite=True)
    if arguments.video and arguments.video.suffix.lower() != ".gif":
        raise InputError(f"--video {arguments.video}: give a name that ends in .gif")
    check_tasks(arguments.tasks or [])
    name = arguments.model or POLICY_PREFIX + arguments.policy
    names = [name] + ([arguments.compare] if arguments.compare else [])
    for each in names:
        if is_scripted(each):
            load_policy(each, arguments, [])  # a misspelt policy is found before a model is loaded
        else:
            check_model_folder(each)
    import_simulator()
    tasks, facts = arguments.tasks, {}
    if arguments.model:
        from eval.robot.model_policy import read_facts  # imports torch, which takes seconds

        facts = read_facts(arguments.model)
        tasks = tasks or facts.get("tasks")
        if not tasks:
            raise InputError(f"{name} does not name the tasks of its data: give --tasks")
        check_tasks(tasks)
        names += [each for each in REFERENCES if each not in names]
    policies = {each: load_policy(each, arguments, tasks) for each in names}
    recorders = {}
    if arguments.video:
        RobotEnv(tasks[0]).picture(PICTURE)  # an error of the renderer comes before the episodes
        recorders[name] = Recorder(policies[name], tasks, arguments.episodes)

    results = {each: play(each, policies[each], tasks, arguments, recorders.get(each)) for each in names}
    summaries = {each: found.summarise() for each, found in results.items()}
    print(f"{arguments.episodes} episodes of each task, seed {arguments.seed}\n")
    print(format_table(tasks, summaries, facts))
    found = summaries[name]
    print(
        f"\n{shown(name)}: {found['decisions_per_second']:,.0f} decisions/s, "
        f"{found['fraction_outside_policy']:.0%} of the time in the simulator"
    )
    written = {"policy": identity(name), "seed": arguments.seed, "episodes": arguments.episodes} | found
    if facts:
        written["data_success_rate"] = facts.get("data_success_rate")
    written["references"] = {shown(each): summaries[each] for each in names[1:]}
    if arguments.compare:
        comparison = compare(results[name], results[arguments.compare], arguments.seed)
        print(f"\n{format_comparison(shown(name), shown(arguments.compare), comparison)}")
        written["comparison"] = comparison | {"compared_with": identity(arguments.compare)}
    if arguments.video:
        recorders[name].save(arguments.video)
        print(f"\nwritten: {arguments.video}")
    if arguments.json:
        write_json(arguments.json, written)


def is_scripted(name: str) -> bool:
    return name.startswith(POLICY_PREFIX)


def load_policy(name: str, arguments: argparse.Namespace, tasks: list[str]) -> Policy:
    """Return a model, or `policy:POLICY`. Raises InputError if there is none, or if it cannot do a task."""
    if is_scripted(name):
        return make_policy(name.removeprefix(POLICY_PREFIX), np.random.default_rng(arguments.seed))
    from eval.robot.model_policy import ModelPolicy

    policy = ModelPolicy.load(name, arguments.device, arguments.dtype)
    policy.check_tasks(tasks)
    return policy


def shown(name: str) -> str:
    """Return the name of a policy for tables."""
    return name.removeprefix(POLICY_PREFIX) if is_scripted(name) else model_name(name)


def identity(name: str) -> str:
    """Return a policy's name for results: that of a model has the digest of its weights."""
    if is_scripted(name):
        return shown(name)
    from eval.loading import ROBOT, identify_model

    return identify_model(name, ROBOT)


def play(
    name: str,
    policy: Policy,
    tasks: list[str],
    arguments: argparse.Namespace,
    recorder: Recorder | None,
) -> Results:
    """Play all episodes of a policy with a progress bar."""
    with tqdm(
        total=len(tasks) * arguments.episodes, unit=" episodes", desc=shown(name), leave=False, disable=None
    ) as progress:

        def watch(task: str, number: int, env: RobotEnv, index: int, success: bool) -> None:
            if recorder is not None:
                recorder(task, number, env, index, success)
            if not env.is_running:
                progress.update()

        return play_episodes(policy, tasks, arguments.episodes, arguments.seed, watch)


def compare(first: Results, second: Results, seed: int) -> dict:
    """Compare two policies from the same starts."""
    won = [results.success.reshape(-1) for results in (first, second)]
    return compare_pairs(*won, *[successes.astype(np.float64) for successes in won], seed)


def format_table(tasks: list[str], summaries: dict[str, dict], facts: dict) -> str:
    """Return success and decisions to it, by task and policy."""
    rows = []
    of_data = facts.get("data_success", {})
    for task in [*tasks, "all"] if len(tasks) > 1 else tasks:
        label = task
        for name, summary in summaries.items():
            found = summary if task == "all" else summary["tasks"][task]
            interval = f"{found['low']:.1%} to {found['high']:.1%}"
            decisions = found["decisions_to_success"]
            shown_decisions = "–" if decisions is None else f"{decisions:.1f}"
            rows.append([label, shown(name), f"{found['success_rate']:.1%}", interval, shown_decisions])
            label = ""
        rate = facts.get("data_success_rate") if task == "all" else of_data.get(INSTRUCTIONS[task])
        if rate is not None:
            rows.append(["", "training data", f"{rate:.1%}", "", ""])
    header = ["task", "policy", "success", "95% interval", "decisions to success"]
    return tabulate(rows, header, disable_numparse=True, colalign=("left", "left", "right", "left", "right"))


def format_comparison(first: str, second: str, comparison: dict) -> str:
    """Return the result of a comparison as text."""
    return (
        f"{first} against {second}: {comparison['success_difference']:+.1%} "
        f"({comparison['low']:+.1%} to {comparison['high']:+.1%}); "
        f"only {first} {comparison['only_first_won']}, only {second} {comparison['only_second_won']} "
        f"of {comparison['num_games']} starts, "
        f"McNemar p = {comparison['mcnemar_p_value']:.3g}"
    )


if __name__ == "__main__":
    command(main)
