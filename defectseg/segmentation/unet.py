"""The U-Net of segmentation_models, with its preprocessing inside."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from types import SimpleNamespace

# segmentation_models picks its Keras when it is imported; tf.keras is Keras 3 today.
os.environ["SM_FRAMEWORK"] = "tf.keras"

import keras
import tensorflow as tf
from keras import ops

with contextlib.redirect_stdout(io.StringIO()):  # it greets on standard output
    import segmentation_models
    from segmentation_models.backbones.backbones_factory import Backbones

from defectseg.config import PROBABILITY, STANDARDISED, ModelSettings
from defectseg.errors import ConfigError
from defectseg.image_io import SMALLEST_STD
from defectseg.segmentation.weights import Source, have_weights

# Their layer names hold a "/", which Keras 3 does not save.
_UNSUPPORTED = ("densenet",)


def build_unet(settings: ModelSettings, *, pretrained: bool = True) -> keras.Model:
    """Build the network.

    Parameters
    ----------
    settings : ModelSettings
    pretrained : bool
        Load ``settings.encoder_weights``; without, the same network begins with random ones.

    Returns
    -------
    keras.Model
        Takes ``(N, H, W, channels)`` float32 in [0, 255], H and W multiples of
        ``settings.multiple``; returns the probability of a defect, ``(N, H, W, 1)`` float32 in
        [0, 1]. Each image is standardised by its own mean and deviation, so that a darker or
        flatter one looks the same to the network.

    Raises
    ------
    ConfigError
        If the backbone is unknown, or its weights cannot be had.
    """
    core = build_core(settings, pretrained=pretrained)
    for layer in core.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = settings.batch_norm_momentum
    image = keras.Input((None, None, settings.channels), name="image")
    # A name to go in by: a part of an image is standardised by the whole image's numbers.
    standardised = keras.layers.Identity(name=STANDARDISED)(standardise(image))
    # float32 whatever the policy: probabilities near 0 and 1 need its digits.
    sigmoid = keras.layers.Activation("sigmoid", dtype="float32", name=PROBABILITY)
    probability = sigmoid(answer(standardised, core, settings))
    return keras.Model(image, enlarge(probability, settings), name="defectseg")


def build_trainable(settings: ModelSettings) -> keras.Model:
    """Build the network without its first step, with the same weights in the same order.

    It takes parts of images that are standardised already, by the numbers of the whole image: as
    the network sees an image when it is deployed, and not each patch by its own numbers.
    """
    network = build_unet(settings)
    return keras.Model(network.get_layer(STANDARDISED).output, network.output, name="trainable")


def answer(
    standardised: keras.KerasTensor, core: keras.Model, settings: ModelSettings
) -> keras.KerasTensor:
    """Connect a standardised image with the logits of a core of `build_core`.

    They are of the resolution that the network computes at, ``settings.downscale`` times coarser
    than the image.
    """
    hidden = standardised
    channels = _core_channels(settings)
    if settings.encoder_weights:
        # They were learned from pictures: smaller ones then, gray shown in all three channels.
        hidden = keras.layers.AveragePooling2D(settings.downscale)(hidden)
        hidden = ops.repeat(hidden, channels // settings.channels, axis=-1)
    elif settings.downscale > 1:
        hidden = _gather_patches(hidden, channels, settings.downscale)
    return core(hidden)


def enlarge(probability: keras.KerasTensor, settings: ModelSettings) -> keras.KerasTensor:
    """Bring probabilities to the image's size."""
    for _ in range(settings.downscale.bit_length() - 1):
        probability = _double(probability)
    return probability


def standardise(image: keras.KerasTensor) -> keras.KerasTensor:
    """Standardise each image by its own mean and deviation."""
    axes = (1, 2, 3)
    mean = ops.mean(image, axis=axes, keepdims=True)
    deviation = ops.std(image, axis=axes, keepdims=True)
    return (image - mean) / ops.maximum(deviation, SMALLEST_STD)


def _core_channels(settings: ModelSettings) -> int:
    return 3 if settings.encoder_weights else settings.channels * settings.downscale**2


def build_core(settings: ModelSettings, *, pretrained: bool) -> keras.Model:
    """Build the U-Net of segmentation_models; its answers are logits."""
    _check_backbone(settings.backbone)
    weights = None
    if pretrained and settings.encoder_weights:
        weights = str(have_weights(find_imagenet_source(settings.backbone)))
    with _without_advice():
        core = segmentation_models.Unet(
            settings.backbone,
            input_shape=(None, None, _core_channels(settings)),
            classes=1,
            activation="linear",
            encoder_weights=weights,
            decoder_filters=settings.decoder_filters,
        )
    if not any(_is_foreign(layer) for layer in core.layers):
        return core
    known = keras.models.clone_model(core, clone_function=_replace_foreign)
    known.set_weights(core.get_weights())
    return known


def find_imagenet_source(backbone: str) -> Source:
    """Return where the ImageNet weights of a backbone come from, as its library says.

    Raises
    ------
    ConfigError
        If the backbone is unknown.
    """
    _check_backbone(backbone)
    asked: list[Source] = []

    def get_file(
        name: str, url: str, *, md5_hash: str = "", file_hash: str = "", **_: object
    ) -> str:
        asked.append(Source(backbone, name, url, md5_hash or file_hash or None))
        raise _HasAskedError

    with contextlib.suppress(_HasAskedError), _without_advice():
        Backbones.get_backbone(
            backbone,
            input_shape=(None, None, 3),
            weights="imagenet",
            include_top=False,
            # What segmentation_models would give them, but for the last.
            backend=tf.keras.backend,
            layers=tf.keras.layers,
            models=tf.keras.models,
            utils=SimpleNamespace(get_file=get_file),
        )
    return asked[0]


class _HasAskedError(Exception):
    """A library has asked for its weights; building the rest is not needed."""


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    with warnings.catch_warnings():
        # Of keras_applications: that models "usually" have 1 or 3 channels, and one size.
        warnings.filterwarnings("ignore", "This model usually expects", UserWarning)
        warnings.filterwarnings("ignore", "`input_shape` is undefined or non-sq", UserWarning)
        yield


def _is_foreign(layer: keras.layers.Layer) -> bool:
    """Tell whether only the library that made a layer could load it again (EfficientNet's)."""
    return type(layer).__name__ == "FixedDropout" or _activates_by_swish(layer)


def _activates_by_swish(layer: keras.layers.Layer) -> bool:
    return getattr(getattr(layer, "activation", None), "__name__", "") == "swish"


def _replace_foreign(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return a layer of Keras' own that computes the same."""
    if type(layer).__name__ == "FixedDropout":
        return keras.layers.Dropout(layer.rate, noise_shape=layer.noise_shape, name=layer.name)
    config = layer.get_config()
    if _activates_by_swish(layer):
        config["activation"] = "silu"
    return layer.__class__.from_config(config)


def _gather_patches(hidden: keras.KerasTensor, channels: int, downscale: int) -> keras.KerasTensor:
    """Return one pixel for each square of `downscale` pixels a side, by a learned combination.

    With as many channels as the square has numbers it begins as a rotation of them: nothing is
    lost, where a mean would wipe out textures as fine as the square.
    """
    combine = keras.layers.Conv2D(
        channels,
        downscale,
        strides=downscale,
        use_bias=False,
        kernel_initializer="orthogonal",
        name="patches",
    )
    return combine(hidden)


def _double(hidden: keras.KerasTensor) -> keras.KerasTensor:
    """Return twice the height and width, interpolated linearly.

    Each pixel is repeated, then smoothed by (1, 2, 1) / 4 along both axes: the same numbers as
    bilinear resizing, which Keras refuses where height and width are not known beforehand.
    """
    # float32 whatever the policy, as the probabilities are.
    hidden = keras.layers.UpSampling2D(2, dtype="float32")(hidden)
    hidden = ops.pad(hidden, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    for _ in range(2):
        hidden = keras.layers.AveragePooling2D(2, strides=1, dtype="float32")(hidden)
    return hidden


def _check_backbone(backbone: str) -> None:
    known = sorted(
        name
        for name in segmentation_models.get_available_backbone_names()
        if not name.startswith(_UNSUPPORTED)
    )
    if backbone not in known:
        raise ConfigError(f"model.backbone = {backbone!r}: expected one of {', '.join(known)}.")
