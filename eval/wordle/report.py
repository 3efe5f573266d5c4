"""Compare value losses at Wordle: train a model for every loss, weight of CQL and seed, and measure them all.

    python -m eval.wordle.report --config wordle_tiny.yaml --output runs/wordle_report \
        --losses mse hl_gauss --alphas 0.1 1 --seeds 0 1 2

Source: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 4.3, which shows success per loss
for α = 0.1, 0.3 and 1. Every cell is a run of train.py in <output>/<loss>-alpha<α>-seed<seed>; settings given
as key=value are passed on to it. Models are measured greedily among the allowed words: in a game with every
secret word, and by their next guess in held-out games (one_turn of eval.wordle).

Called again, it keeps what is trained and goes on with what is not. It leaves results.json, the tables as
report.md, and report.png.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from configs.schema import Config, load_config
from data.command_line import InputError, command
from data.files import check_output
from data.wordle.game_rows import Games
from data.wordle.games import GameDescription
from data.wordle.generate import read_policy
from eval.hardware import describe_hardware
from eval.loading import choose_device
from eval.options import positive_int, seed_number
from eval.run_comparison import (
    REPORT_FILES,
    SET_BY_RUNS,
    SEVERAL,
    add_comparison_options,
    check_lists_something,
    check_settings,
    difference_over_seeds,
    failed_cells,
    mean_over_seeds,
    parse_comparison,
    read_numbers,
    write_report,
)
from eval.train_runs import TrainingRun, train_runs
from eval.wordle.agents import Contestant, read_game
from eval.wordle.protocols import held_out_games, one_turn, roll_out
from eval.wordle.report_plot import plot_report
from eval.wordle.report_tables import BASELINE, MEASURES, format_alpha, format_report
from training.wordle_task import read_training_games


LOSSES = ("mse", "mse_softmax", "two_hot", "hl_gauss", "c51")
ALPHAS = (0.1, 0.3, 1.0)
SEEDS = (0, 1, 2)
SET_BY_CELLS = ("value_loss.name", "q_learning.cql_alpha", *SET_BY_RUNS)


@dataclass(frozen=True)
class Cell:
    """A value loss, a weight of CQL's term and a seed, and the run that trains with them."""

    loss: str
    alpha: float
    seed: int
    run: TrainingRun


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.wordle.report",
        description="Compare value losses at Wordle: train a model for every loss, weight of CQL's term and "
        "seed, measure them all, and report means over seeds and paired differences to mse. Called again, it "
        "keeps what is trained and goes on with what is not.",
    )
    add = parser.add_argument
    add("--config", required=True, help="a name in configs/, or the path of a YAML file")
    add("--losses", default=LOSSES, help=f"value losses ({' '.join(LOSSES)})", **SEVERAL)
    add("--alphas", default=ALPHAS, help="weights of CQL's term (0.1 0.3 1)", **SEVERAL)
    add("--seeds", default=SEEDS, help="seeds of weights and data order (0 1 2)", **SEVERAL)
    add_comparison_options(parser)
    held_out = parser.add_argument_group("the games of one_turn")
    held_out.add_argument(
        "--num-games", type=positive_int, default=2000, metavar="N", help="how many games (2000)"
    )
    held_out.add_argument("--behavior", metavar="PLAYER", help="who plays them (who played the data)")
    held_out.add_argument("--games", metavar="FILE", help="a file of games to take them from")
    held_out.add_argument("--games-seed", type=seed_number, default=0, help="draws them (0)")
    arguments = parse_comparison(parser)
    if arguments.games is not None and arguments.behavior is not None:
        parser.error("--games and --behavior exclude each other")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    started = time.perf_counter()
    output = arguments.output
    for name in REPORT_FILES:
        check_output(output / name, overwrite=True)
    device = choose_device(arguments.device)
    cells, config = make_cells(arguments)
    data_games, game = read_training_games(config.data)
    check_games(cells, game, config.data.train)
    games, behavior = find_held_out_games(game, arguments)

    num_finished = sum(cell.run.is_finished for cell in cells)
    print(f"{len(cells)} cells, {num_finished} of them trained already; they write to {output}/*/train.log")
    sys.stdout.flush()
    try:
        failures = train_runs([cell.run for cell in cells], arguments.processes, arguments.threads)
    except KeyboardInterrupt:
        num_finished = sum(cell.run.is_finished for cell in cells)
        raise KeyboardInterrupt(
            f"{num_finished} of {len(cells)} cells are trained; the same command goes on"
        ) from None
    trained = [cell for cell in cells if cell.run.is_finished]
    rows, unmeasured = measure_cells(trained, game, games, behavior, device)
    failures |= unmeasured
    failures = {cell.run.name: failures[cell.run.name] for cell in cells if cell.run.name in failures}
    if rows:
        results = {
            **summarise(rows),
            "failed": failures,
            "data": describe_data(config.data.train, data_games, game),
            "command": shlex.join(["python", "-m", "eval.wordle.report", *sys.argv[1:]]),
            "config": arguments.config,
            "settings": arguments.settings,
            "games_seed": arguments.games_seed,
            "hardware": describe_hardware(device),
            "processes": arguments.processes,
            "threads": arguments.threads,
            "seconds": time.perf_counter() - started,
        }
        write_report(output, results, format_report(results), plot_report)
    if failures:
        raise failed_cells(failures, len(cells))


def make_cells(arguments: argparse.Namespace) -> tuple[list[Cell], Config]:
    """Return the cells and the configuration of the first. Raises InputError for what cannot be trained."""
    for setting in arguments.settings:
        key = setting.partition("=")[0]
        if key in SET_BY_CELLS:
            options = "--losses, --alphas, --seeds and --output"
            raise InputError(f"{setting}: every cell sets its own {key}; leave it out, and see {options}")
    check_lists_something("--losses", arguments.losses)
    losses = list(dict.fromkeys(arguments.losses))
    alphas = read_numbers("--alphas", arguments.alphas, float)
    seeds = read_numbers("--seeds", arguments.seeds, int)
    # Before the cells' own settings, which another task has not.
    task = load_config(arguments.config, [*arguments.settings, f"output_dir={arguments.output}"]).task
    if task != "wordle":
        raise InputError(f"{arguments.config} trains {task}, not wordle: give another")
    # Those with a seed side by side, so that a report of part of them has pairs.
    cells, configs = [], []
    for seed in seeds:
        for alpha in alphas:
            for loss in losses:
                settings = (
                    *arguments.settings,
                    f"value_loss.name={loss}",
                    f"q_learning.cql_alpha={alpha!r}",
                    f"seed={seed}",
                )
                folder = arguments.output / f"{loss}-alpha{format_alpha(alpha)}-seed{seed}"
                config = load_config(arguments.config, [*settings, f"output_dir={folder}"])
                check_settings(config, folder.name)
                run = TrainingRun(folder, arguments.config, settings, config.training.steps)
                run.check(config)
                cells.append(Cell(loss, alpha, seed, run))
                configs.append(config)
    return cells, configs[0]


def check_games(cells: Iterable[Cell], game: GameDescription, source: str) -> None:
    """Raise InputError if a finished model was not trained on the games of `source`, by their description."""
    now = _identity(game)
    for cell in cells:
        if not cell.run.is_finished:
            continue
        folder = cell.run.folder
        trained_on = read_game(str(folder / "model"))
        remedy = f"choose another --output, or remove {folder}"
        if trained_on is None:
            raise InputError(f"{folder} does not say what it was trained on (no model/wordle.json): {remedy}")
        before = _identity(trained_on)
        changed = [f"{key}: {before[key]}, now {now[key]}" for key in now if before[key] != now[key]]
        if changed:
            raise InputError(
                f"{folder} was trained on other games than {source} holds: {'; '.join(changed)}: {remedy}"
            )


def _identity(game: GameDescription) -> dict[str, str]:
    """Return what tells games from others."""
    words = game.words
    return {
        "words": f"{len(words.answers)} secret and {len(words.guesses)} allowed ({words.digest})",
        "rule": game.rule,
        "policy": repr(game.policy),
        "seed": str(game.seed),
    }


def find_held_out_games(game: GameDescription, arguments: argparse.Namespace) -> tuple[Games, str]:
    """Return the games of one_turn and who played them; unless told otherwise, who played the data."""
    behavior = arguments.behavior or game.policy
    if not arguments.behavior and not arguments.games:
        try:
            read_policy(behavior)
        except InputError:
            who = f"by {behavior!r}, which no player plays" if behavior else "by players it does not name"
            raise InputError(
                f"the data was played {who}: say with --behavior who plays the games of one_turn, or give "
                "games with --games"
            ) from None
    return held_out_games(game, arguments.num_games, arguments.games_seed, behavior, arguments.games)


def measure_cells(
    cells: Sequence[Cell], game: GameDescription, games: Games, behavior: str, device: torch.device
) -> tuple[list[dict], dict[str, str]]:
    """Return a row of results for every cell, and what is wrong with the models that cannot be measured."""
    rows, failures = [], {}
    for number, cell in enumerate(cells, start=1):
        try:
            row = measure_cell(cell, game, games, behavior, device)
        except InputError as error:
            failures[cell.run.name] = str(error)
            print(f"{cell.run.name} failed: {error}")
            continue
        rows.append(row)
        print(
            f"{number}/{len(cells)}  {cell.run.name}: success {row['success_rate']:.1%}, return "
            f"{row['mean_return']:.3f}, one turn {row['one_turn_success_rate']:.1%}",
            flush=True,
        )
    return rows, failures


def measure_cell(
    cell: Cell, game: GameDescription, games: Games, behavior: str, device: torch.device
) -> dict:
    """Play with every secret, and guess in held-out games; return a row of the results."""
    contestant = Contestant.from_model(str(cell.run.folder / "model"), device, "float32")
    agent = contestant.agent(game, seed=0, masked=True, temperature=0.0, batch_size=512)
    played, _ = roll_out(agent, np.arange(len(game.words.answers)), cell.run.name)
    turn = one_turn(agent, game, games, behavior)
    return {
        "cell": cell.run.name,
        "loss": cell.loss,
        "alpha": cell.alpha,
        "seed": cell.seed,
        "num_steps": cell.run.num_steps,
        "training_seconds": cell.run.seconds(),
        "num_games": len(played.is_won),
        "success_rate": float(played.is_won.mean()),
        "mean_return": float(played.returns().mean()),
        "one_turn_success_rate": turn["success_rate"],
        "one_turn": {key: turn[key] for key in ("num_states", "bayes_ceiling", "behavior_rate", "behavior")},
    }


def summarise(rows: list[dict]) -> dict:
    """Return the rows, their means over seeds, and the paired differences of every loss to mse.

    `groups` has for every loss and α, and each of MEASURES, the mean and its standard error, None for a
    single seed. `differences` has the mean difference over the seeds that both have, and its 95% interval by
    Student's t.
    """
    rows = [row.copy() for row in rows]
    # The same states for all.
    (turn,) = {tuple(row.pop("one_turn").items()) for row in rows}
    losses, alphas = (list(dict.fromkeys(row[key] for row in rows)) for key in ("loss", "alpha"))
    groups, differences = [], []
    for alpha in alphas:
        by_seed = {
            loss: {row["seed"]: row for row in rows if (row["loss"], row["alpha"]) == (loss, alpha)}
            for loss in losses
        }
        for loss, of_loss in by_seed.items():
            if of_loss:
                measures = {
                    measure: mean_over_seeds(row[measure] for row in of_loss.values()) for measure in MEASURES
                }
                groups.append({"loss": loss, "alpha": alpha, "num_seeds": len(of_loss), **measures})
            baseline = by_seed.get(BASELINE, {})
            pairs = [(of_loss[seed], baseline[seed]) for seed in sorted(of_loss.keys() & baseline.keys())]
            if loss != BASELINE and pairs:
                measures = {
                    measure: difference_over_seeds((row[measure], other[measure]) for row, other in pairs)
                    for measure in MEASURES
                }
                differences.append({"loss": loss, "alpha": alpha, "num_seeds": len(pairs), **measures})
    return {
        "cells": rows,
        "groups": groups,
        "differences_to_mse": differences,
        "one_turn": dict(turn),
    }


def describe_data(path: str, games: Games, game: GameDescription) -> dict:
    """Say which games were learnt from, and how good they are."""
    return {
        "path": path,
        "num_games": len(games),
        "policy": game.policy,
        "num_answers": len(game.words.answers),
        "num_guesses": len(game.words.guesses),
        "rule": game.rule,
        "mean_return": float(games.returns().mean(dtype=np.float64)),
        "success_rate": float(games.won.mean()),
    }


if __name__ == "__main__":
    command(main)
