"""A chess model that onnxruntime runs on the CPU, without torch: the ONNX file of a published model.

python -m training.publish --run runs/chess_tiny --folder chess_tiny --onnx
python -m eval.chess.uci --model chess_tiny --runtime onnx
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cli.errors import InputError, first_line
from eval.chess.network import ChessNetwork


class OnnxNetwork(ChessNetwork):
    """The model in a file of onnx/. Raises InputError if it cannot be read, or does not play chess."""

    def __init__(self, path: Path):
        self._path = path
        self.set_threads(1)
        try:
            facts = json.loads(self._session.get_modelmeta().custom_metadata_map["stop_regressing"])
            self.architecture, self.orient = facts["architecture"], facts["orient"]
            self.value_loss, self.num_parameters = facts["value_loss"], facts["num_parameters"]
            support = facts["support"]
        except (KeyError, ValueError):
            raise InputError(
                f"{self._path} holds no chess model of this project: publish it again with --onnx"
            ) from None
        self.support = None if support is None else np.array(support, dtype=np.float32)
        self.has_preference = "preference" in [output.name for output in self._session.get_outputs()]

    def run(self, outputs: Sequence[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return self._session.run(list(outputs), inputs)

    def set_threads(self, num_threads: int) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError("onnxruntime is not installed: pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3  # errors
        # Threads that wait actively would take the cores of other programs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Passes take 5% less time without it, and 64 boards together less memory.
        options.enable_mem_reuse = False
        try:
            self._session = onnxruntime.InferenceSession(
                self._path, options, providers=["CPUExecutionProvider"]
            )
        # Its exceptions have no common class of their own.
        except Exception as error:
            raise InputError(
                f"{self._path} cannot be loaded: {first_line(error)}; publish it again with --onnx"
            ) from error
