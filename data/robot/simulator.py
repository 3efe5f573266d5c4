"""Meta-World's simulator: how it is imported, and how its scenes are rendered.

MuJoCo chooses its renderer when it is imported, by the variable MUJOCO_GL. With `disable`, the default on
Linux without a renderer, it simulates and only pictures are missing.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import warnings
from ctypes.util import find_library
from difflib import get_close_matches
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from cli.errors import InputError, first_line


if TYPE_CHECKING:
    import mujoco


INSTALL_SIMULATOR = "pip install 'metaworld>=3.1.1,<3.2'"
INSTALL_RENDERER = "apt-get install libegl1 libgl1-mesa-dri (or libosmesa6, with MUJOCO_GL=osmesa)"
# The cameras of every task.
CAMERAS = ("topview", "corner", "corner2", "corner3", "corner4", "behindGripper", "gripperPOV")
LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}


def check_camera(camera: str) -> None:
    """Raise InputError if no scene has this camera."""
    if camera not in CAMERAS:
        nearest = get_close_matches(camera, CAMERAS, n=1) or CAMERAS
        raise InputError(f"there is no camera {camera!r}: did you mean {' or '.join(nearest)}?")


@functools.cache
def import_simulator() -> ModuleType:
    """Import Meta-World. Raises InputError if it is not installed, or if MUJOCO_GL names no renderer here."""
    if sys.platform == "linux":
        found = (name for name, library in LIBRARIES.items() if find_library(library))
        os.environ.setdefault("MUJOCO_GL", next(found, "disable"))
    try:
        import metaworld
        import metaworld.policies
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("metaworld", "mujoco"):
            raise
        raise InputError(f"Meta-World is not installed ({error}): {INSTALL_SIMULATOR}") from None
    except (AttributeError, RuntimeError):  # of MuJoCo's import of the renderer
        renderer = os.environ.get("MUJOCO_GL")
        raise InputError(
            f"MUJOCO_GL={renderer}: MuJoCo finds no such renderer: unset it, or {INSTALL_RENDERER}"
        ) from None
    # Scripted policies ask for more than the largest action, and the environments clip it.
    warnings.filterwarnings("ignore", "Constant.s. may be too high", UserWarning)
    return metaworld


class SceneRenderer:
    """Pictures of the scenes of one task, (size, size, 3) uint8.

    Shadows, reflections and multisampling are off: on a CPU they take nine tenths of the time. All copies of
    a task's environment have the same meshes and textures, so that one renderer serves all of them.
    """

    def __init__(self, model: mujoco.MjModel, size: int) -> None:
        import mujoco

        model.vis.quality.shadowsize = 0
        model.vis.quality.offsamples = 0
        largest = min(model.vis.global_.offwidth, model.vis.global_.offheight)
        if size > largest:
            raise InputError(f"pictures of {size} pixels are too large: give at most {largest}")
        self._gl = make_gl_context(size)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        self._options, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._area = mujoco.MjrRect(0, 0, size, size)
        self._picture = np.empty((size, size, 3), dtype=np.uint8)
        # Contexts must be freed before the display is closed at exit.
        atexit.register(self.close)

    def render(self, model: mujoco.MjModel, data: mujoco.MjData, camera: str) -> np.ndarray:
        """Return a picture of an environment from a camera."""
        import mujoco

        self._gl.make_current()
        self._camera.fixedcamid = model.camera(camera).id
        mujoco.mjv_updateScene(
            model,
            data,
            self._options,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        mujoco.mjr_render(self._area, self._scene, self._context)
        mujoco.mjr_readPixels(self._picture, None, self._area, self._context)
        return self._picture[::-1].copy()  # OpenGL's first row is the lowest

    def close(self) -> None:
        """Free the memory of the renderer."""
        self._context.free()
        self._gl.free()


def make_gl_context(size: int) -> mujoco.GLContext:
    """Return an OpenGL context. Raises InputError if this machine has no renderer."""
    from mujoco import gl_context

    try:
        return gl_context.GLContext(size, size)
    except Exception as error:  # AttributeError without a renderer; each renderer has its own for failures
        if isinstance(error, AttributeError):
            reason = f"MUJOCO_GL is {os.environ.get('MUJOCO_GL')}"
        else:
            reason = first_line(error)
        raise InputError(f"no pictures can be rendered ({reason}): {INSTALL_RENDERER}") from None
