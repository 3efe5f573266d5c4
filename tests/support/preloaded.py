"""The libraries of most commands, imported once by the process that forks for each command of the tests."""

# ruff: noqa: F401
import gc
import os

import accelerate
import chess.engine
import chess.pgn
import chess.svg
import datasets
import duckdb
import gymnasium
import joblib
import matplotlib.backends.backend_agg
import matplotlib.pyplot
import omegaconf
import PIL.Image
import pooch
import psutil
import scipy.optimize
import scipy.stats
import tokenizers
import torch
import transformers.masking_utils
import transformers.modeling_layers
import transformers.modeling_utils
import transformers.models.auto.modeling_auto
import transformers.models.auto.tokenization_auto
import transformers.processing_utils
import transformers.tokenization_utils_tokenizers


if not torch.cuda.device_count():  # DeepSpeed starts CUDA, which forked processes could not use
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed.runtime.superoffload.superoffload_stage3
    import deepspeed.runtime.zero.muon.muon_optimizer  # compiles functions: torch's compiler takes seconds

PIL.Image.init()
gc.freeze()  # the garbage collector of a forked process has nothing of this to look through
