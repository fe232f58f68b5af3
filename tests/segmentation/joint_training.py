"""A process of a training on several devices, of a network that is traced in no time.

Called as ``python -m tests.segmentation.joint_training CONFIG DEVICES``: logical devices, as well
as other workers, can be had only before TensorFlow starts. Workers stop after the first epoch and
go on with the next, and tell in a line of JSON what else they have seen.
"""

import json
import sys
from pathlib import Path

import tensorflow as tf

from defectseg.config import Config, load_config
from defectseg.errors import ConfigError
from defectseg.segmentation.distribution import Workers, join_workers, read_cluster
from tests.segmentation.tiny import train_tiny


def train_on_devices(config: Config, count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(cpu, logical)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(count)])
    train_tiny(config, workers=Workers(strategy))


def train_as_worker(config: Config) -> None:
    workers = join_workers(*read_cluster())
    seen = {"workers": str(workers), "chief": workers.chief_says(7 + workers.index)}
    try:
        workers.check_agreement({"same": 1, "train.learning_rate": workers.index})
    except ConfigError as error:
        seen["disagreement"] = str(error)
    once = config.train.model_copy(update={"epochs": 1})
    train_tiny(config.model_copy(update={"train": once}), workers=workers)
    workers.chief_says(0)  # it has saved what they go on with
    train_tiny(config, workers=workers, resume=True)
    print(json.dumps(seen))


if __name__ == "__main__":
    settings, devices = load_config(Path(sys.argv[1])), int(sys.argv[2])
    if devices > 1:
        train_on_devices(settings, devices)
    else:
        train_as_worker(settings)
