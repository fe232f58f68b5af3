"""Augmentation that moves image and mask together, inside tf.data."""

import math

import tensorflow as tf


def augment_pair(
    image: tf.Tensor,
    mask: tf.Tensor,
    seed: tf.Tensor,
    *,
    flip: bool,
    quarter_turns: bool,
    rotate_deg: float,
    scale: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Flip, turn and scale an image and its mask by the same random amounts.

    Parameters
    ----------
    image : tensor of shape (H, W, C), float32
    mask : tensor of shape (H, W, 1), float32, 0 or 1
    seed : tensor of shape (2,), int
        The same seed gives the same result.
    flip : bool
        Left-right and up-down, each in half of the cases.
    quarter_turns : bool
        Turned about the centre by 0, 90, 180 or 270 degrees. Like flips, they keep each pixel's
        value; what follows interpolates, and so softens textures as fine as the pixels.
    rotate_deg : float
        Turned about the centre by up to this angle either way; 180 for any direction.
    scale : float
        Enlarged or reduced by up to this share, in [0, 1).

    Returns
    -------
    image, mask : tensors of the same shapes
        The image interpolated, the mask by nearest neighbour. What comes in from beyond the
        border is the reflection of what lies inside it.
    """
    draws = tf.random.stateless_uniform((5,), seed, -1.0, 1.0)
    angle = draws[0] * (rotate_deg * math.pi / 180)
    if quarter_turns:
        angle += tf.floor(draws[4] * 2) * (math.pi / 2)
    zoom = 1.0 + draws[1] * scale
    flip_x, flip_y = (tf.where(draws[i] < 0, -1.0, 1.0) for i in (2, 3)) if flip else (1.0, 1.0)
    matrix = _matrix(tf.cos(angle) / zoom, tf.sin(angle) / zoom, flip_x, flip_y, tf.shape(image))
    return _transform(image, matrix, "BILINEAR"), _transform(mask, matrix, "NEAREST")


def _matrix(
    cos: tf.Tensor, sin: tf.Tensor, flip_x: tf.Tensor, flip_y: tf.Tensor, shape: tf.Tensor
) -> tf.Tensor:
    """Return the eight numbers that map an output pixel (x, y) to its input pixel.

    The map is ``centre + turn @ flip @ (pixel - centre)``.
    """
    a, b, d, e = cos * flip_x, -sin * flip_y, sin * flip_x, cos * flip_y
    centre_x = tf.cast(shape[1] - 1, tf.float32) / 2
    centre_y = tf.cast(shape[0] - 1, tf.float32) / 2
    c = centre_x - a * centre_x - b * centre_y
    f = centre_y - d * centre_x - e * centre_y
    zero = tf.zeros(())
    return tf.stack([a, b, c, d, e, f, zero, zero])[None]


def _transform(picture: tf.Tensor, matrix: tf.Tensor, interpolation: str) -> tf.Tensor:
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=picture[None],
        transforms=matrix,
        output_shape=tf.shape(picture)[:2],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="REFLECT",
    )
    return tf.ensure_shape(moved[0], picture.shape)
