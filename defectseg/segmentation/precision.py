"""The arithmetic of a training: 16 bits where the processor computes with them."""

import keras
import tensorflow as tf

from defectseg.processor import BFLOAT16, find_instructions, read_cpu_info

_GPU_CAPABILITY = (8, 0)


def choose_precision(wanted: str) -> str:
    """Return the precision that a setting means on this machine.

    Parameters
    ----------
    wanted : str
        As `config.TrainSettings.precision`.

    Returns
    -------
    str
        For ``"auto"`` ``"bfloat16"`` where all GPUs, or without one the processor, compute with
        it, else ``"float32"``: where it is only imitated it is slower. Anything else as it is.
    """
    if wanted != "auto":
        return wanted
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = map(tf.config.experimental.get_device_details, gpus)
        fast = all(own.get("compute_capability", (0, 0)) >= _GPU_CAPABILITY for own in details)
    else:
        fast = bool(find_instructions(read_cpu_info(), BFLOAT16))
    return "bfloat16" if fast else "float32"


def use_precision(precision: str) -> None:
    """Let networks that are built from here on compute so; their weights stay in 32 bits."""
    policy = precision if precision == "float32" else f"mixed_{precision}"
    keras.mixed_precision.set_global_policy(policy)
