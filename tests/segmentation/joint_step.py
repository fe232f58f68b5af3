"""A process that makes one step of plain gradient descent on one device, and on two.

Called as ``python -m tests.segmentation.joint_step``: logical devices can be had only before
TensorFlow starts. Tells in a line of JSON by how much each number of the network changed, by loss.
"""

import json
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from defectseg.config import ModelSettings
from defectseg.segmentation.batch_norm import synchronise
from defectseg.segmentation.distribution import Workers
from defectseg.segmentation.losses import MaskLoss
from defectseg.segmentation.steps import Steps
from tests.segmentation.tiny import tiny_network


def change_weights(strategy: tf.distribute.Strategy, loss: str) -> list[float]:
    """By how much one step changes the weights; in steps of Adam no scale would be seen."""
    workers = Workers(strategy)
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = tiny_network(ModelSettings())
        model.compile(keras.optimizers.SGD(), MaskLoss(loss))
    synchronise(model)
    rng = np.random.default_rng(2)
    images = rng.normal(size=(4, 16, 16, 1)).astype(np.float32)
    # The devices' parts of a batch hold much and little of a defect.
    masks = (rng.random(images.shape) < np.reshape([0.5, 0.4, 0.02, 0], (4, 1, 1, 1))).astype("f4")
    parts = tf.data.Dataset.from_tensor_slices((images, masks)).batch(4 // workers.devices)
    before = flatten(model)
    pace = SimpleNamespace(begin=lambda number: 1.0, end=lambda number, loss: False)
    Steps(model).train(workers.distribute(parts), pace)
    return (flatten(model) - before).tolist()


def flatten(model: keras.Model) -> np.ndarray:
    return np.concatenate([own.numpy().ravel() for own in model.trainable_variables])


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    strategies = (tf.distribute.get_strategy(), both)
    losses = ("dice", "bce_dice_by_image")
    print(json.dumps({loss: [change_weights(own, loss) for own in strategies] for loss in losses}))
