"""Write a model as ONNX files, for programs without torch: onnxruntime, also in a browser.

    python -m training.publish --run runs/chess_tiny --folder chess_tiny --onnx
    python -m training.onnx_export --model checkpoints/chess_3m

The first publishes a run with its ONNX files, the second adds them to the folder of a published model.

onnx/model.onnx is in float32. onnx/model_fp16.onnx has the weights in float16 and computes in float32. Their
inputs and outputs have the names of the model's. Batch, number of actions and number of tokens are dynamic.
Both are compared with PyTorch.
"""

import argparse
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from cli.errors import InputError, command
from cli.files import atomic_write
from eval.model_folder import ONNX_NAMES, check_model_folder


if TYPE_CHECKING:
    import onnx
    from transformers import PreTrainedModel

OPSET = 23
FACTS = "stop_regressing"  # the key of the facts that eval/chess/onnx_network.py reads
NUM_STATES = 200  # compared with PyTorch
STATES_PER_BATCH = 50
TOLERANCES = (1e-5, 1e-3)  # of values, as a fraction of their range, for each of ONNX_NAMES
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
SMALL = 256  # tensors of fewer numbers stay in float32


class Form(NamedTuple):
    """The inputs of a model, each with examples and the names of its dynamic axes, and its outputs."""

    inputs: dict[str, tuple[np.ndarray, dict[int, str]]]
    outputs: list[str]


class Prediction(NamedTuple):
    """The prediction in one state: values of actions, and the scores that choose one."""

    values: np.ndarray
    scores: np.ndarray


class Exported(Protocol):
    """A model to export, and states to compare its files in."""

    model: "PreTrainedModel"
    value_range: float

    def facts(self) -> dict:
        """Return the facts that the file holds besides the network."""

    def form(self) -> Form:
        """Return its inputs and outputs."""

    def predict(self, path: Path | None = None) -> list[Prediction]:
        """Return what the model predicts in NUM_STATES states; with `path`, what its ONNX file does."""


def check_packages() -> None:
    """Raise InputError if a package that export needs is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(f"--onnx: not installed: {', '.join(missing)}; pip install {' '.join(missing)}")


def export_onnx(folder: Path, task: str) -> None:
    """Add ONNX files to the folder of a model. Raises InputError if they differ from PyTorch's model."""
    domains: dict[str, Callable[[Path], Exported]] = {"chess": _ChessModel, "wordle": _WordleModel}
    if task not in domains:
        raise InputError(f"models of {task} have no ONNX form: leave out --onnx")
    model = domains[task](folder)
    exported = _export(model.model, model.form())
    exported.metadata_props.add(key=FACTS, value=json.dumps(model.facts()))
    reference = model.predict()
    with atomic_write(folder / "onnx") as unfinished:
        unfinished.mkdir()
        for name, tolerance in zip(ONNX_NAMES, TOLERANCES, strict=True):
            is_half = name != ONNX_NAMES[0]
            (unfinished / name).write_bytes(
                (halve_weights(exported) if is_half else exported).SerializeToString()
            )
            found = model.predict(unfinished / name)
            compare(reference, found, tolerance * model.value_range, same_choices=not is_half, name=name)


def _export(model: "PreTrainedModel", form: Form) -> "onnx.ModelProto":
    import torch

    from training.onnx_blocks import for_onnxruntime

    num_states = 1 + form.inputs["input_ids"][0].shape[1] if "action_ids" in form.inputs else None

    class Outputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = for_onnxruntime(model, num_states)

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found = self.model(**dict(zip(form.inputs, inputs, strict=True)))
            return tuple(found[name] for name in form.outputs)

    axes = {name: torch.export.Dim(name) for _, names in form.inputs.values() for name in names.values()}
    shapes = tuple({axis: axes[name] for axis, name in names.items()} for _, names in form.inputs.values())
    with _quiet():
        program = torch.onnx.export(
            Outputs(),
            tuple(torch.from_numpy(example) for example, _ in form.inputs.values()),
            input_names=list(form.inputs),
            output_names=form.outputs,
            dynamic_shapes=(shapes,),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    exported = program.model_proto
    for node in exported.graph.node:
        del node.metadata_props[:]  # the code that made it, with its path on this machine
    return exported


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's log of its own steps."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)


def halve_weights(exported: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a copy with weights in float16, each cast to float32, in which everything is computed."""
    import onnx

    halved = onnx.ModelProto()
    halved.CopyFrom(exported)
    casts = []
    for weight in halved.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT and np.prod(weight.dims) >= SMALL:
            name, half = weight.name, onnx.numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.fp16"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}.fp16"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *halved.graph.node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    return halved


def compare(
    reference: Sequence[Prediction],
    found: Sequence[Prediction],
    tolerance: float,
    same_choices: bool,
    name: str,
) -> None:
    """Raise InputError if values differ by more than `tolerance`, or with `same_choices` a chosen action."""
    pairs = list(zip(reference, found, strict=True))
    # NaN is no small difference: max of Python would lose it.
    error = np.max([np.abs(ours.values - theirs.values).max() for ours, theirs in pairs])
    if not error <= tolerance:
        raise InputError(
            f"onnx/{name} differs from PyTorch by {error:.1e} in value, more than {tolerance:.1e}: publish "
            "without --onnx"
        )
    others = sum(ours.scores.argmax() != theirs.scores.argmax() for ours, theirs in pairs)
    if same_choices and others:
        raise InputError(
            f"onnx/{name} chooses another action than PyTorch in {others} of {len(pairs)} states: publish "
            "without --onnx"
        )


class _ChessModel:
    """A chess model of any target, and the boards of this repository's sample."""

    def __init__(self, folder: Path):
        import chess
        import pyarrow.parquet as pq

        from eval.chess.engines import ordered_legal_moves
        from eval.chess.torch_network import TorchNetwork
        from eval.loading import load_model

        self.model, tokenizer = load_model(folder, "cpu")
        self._network = TorchNetwork(self.model, tokenizer.orient)
        sample = Path(__file__).parents[1] / "data" / "chess" / "sample" / "test_boards.parquet"
        fens = pq.read_table(sample, columns=["fen"])["fen"].to_pylist()[:NUM_STATES]
        self._positions = [(board, ordered_legal_moves(board)) for board in map(chess.Board, fens)]
        has_range = self._network.value_loss is not None
        self.value_range = self.model.config.value_max - self.model.config.value_min if has_range else 1.0

    def facts(self) -> dict:
        network = self._network
        return {
            "architecture": network.architecture,
            "orient": network.orient,
            "value_loss": network.value_loss,
            "support": None if network.support is None else network.support.tolist(),
            "num_parameters": network.num_parameters,
        }

    def form(self) -> Form:
        from models.chess_tokens import encode_positions

        fens = [board.fen() for board, _ in self._positions[:2]]
        examples = encode_positions(fens, [["e2e4", "d2d4", "g1f3"], ["e7e5", "d7d5"]], self._network.orient)
        boards = {"input_ids": (examples["input_ids"], {0: "batch"})}
        if self._network.is_policy:
            return Form(boards, ["logits"])
        if self._network.values_states:
            return Form(boards, ["value", "logits"])
        actions = {"action_ids": (examples["action_ids"], {0: "batch", 1: "actions"})}
        preference = ["preference"] if self._network.has_preference else []
        return Form(boards | actions, ["value", "logits", *preference])

    def predict(self, path: Path | None = None) -> list[Prediction]:
        from eval.chess.engines import Analysis
        from eval.chess.move_values import value_moves
        from eval.chess.onnx_network import OnnxNetwork

        network = self._network if path is None else OnnxNetwork(path)
        found = value_moves(network, self._positions, STATES_PER_BATCH)
        analyses = [Analysis([], of_board.values, preferences=of_board.preferences) for of_board in found]
        return [Prediction(analysis.values, analysis.scores) for analysis in analyses]


class _WordleModel:
    """A Wordle model, and states of games that a scripted player plays with its words."""

    def __init__(self, folder: Path):
        from data.wordle.games import GameDescription
        from data.wordle.players import LMRL_BEHAVIOR, make_player, play_games
        from data.wordle.token_games import action_positions, game_tokens
        from eval.loading import WORDLE, load_model

        self.model, _ = load_model(folder, "cpu", kind=WORDLE)
        self.value_range = self.model.config.value_max - self.model.config.value_min
        game = GameDescription.from_json(json.loads((folder / "wordle.json").read_bytes()))
        rng = np.random.default_rng(0)
        secrets = rng.integers(len(game.words.answers), size=NUM_STATES)
        games = play_games(make_player(LMRL_BEHAVIOR), game.words, game.rule, secrets, rng)
        ends = np.array([rng.choice(action_positions(turns)) for turns in games.num_turns])
        # Batches of several lengths; attention is causal, so tokens after the end have no effect.
        order = np.argsort(ends)
        self._ends, self._tokens = ends[order], game_tokens(games.guesses, games.patterns)[order]

    def facts(self) -> dict:
        return {"architecture": type(self.model).__name__}

    def form(self) -> Form:
        return Form(
            {"input_ids": (self._tokens[:2, :13], {0: "batch", 1: "tokens"})},
            ["value", "logits"],
        )

    def predict(self, path: Path | None = None) -> list[Prediction]:
        import onnxruntime
        import torch

        session = None if path is None else onnxruntime.InferenceSession(path)
        predictions = []
        for start in range(0, NUM_STATES, STATES_PER_BATCH):
            ends = self._ends[start : start + STATES_PER_BATCH]
            tokens = self._tokens[start : start + STATES_PER_BATCH, : ends.max() + 1]
            if session is not None:
                (values,) = session.run(["value"], {"input_ids": tokens})
            else:
                with torch.no_grad():
                    values = self.model(torch.from_numpy(tokens)).value.numpy()
            predictions += [Prediction(row[end], row[end]) for row, end in zip(values, ends, strict=True)]
        return predictions


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.onnx_export",
        description="Add the ONNX files of a chess model to its folder: onnx/model.onnx in float32, and "
        "onnx/model_fp16.onnx with weights in float16. Both are compared with PyTorch on 200 boards.",
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="the folder of a chess model")
    return parser.parse_args()


def main() -> None:
    folder = Path(parse_arguments().model)
    check_model_folder(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give the folder of a model on this machine")
    check_packages()
    export_onnx(folder, "chess")
    for file in sorted((folder / "onnx").iterdir()):
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    command(main)
