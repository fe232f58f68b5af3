import keras
import numpy as np

from defectseg.segmentation.batch_norm import BatchNormStatistics


def one_layer() -> tuple[keras.Model, keras.layers.BatchNormalization]:
    layer = keras.layers.BatchNormalization(momentum=0.97)
    image = keras.Input((None, None, 1))
    return keras.Model(image, layer(image)), layer


def batch(*pixels: float) -> np.ndarray:
    return np.array(pixels, np.float32).reshape(1, 1, len(pixels), 1)


def test_the_statistics_are_those_of_all_pixels() -> None:
    model, layer = one_layer()
    BatchNormStatistics(model).measure([batch(0, 2), batch(4, 8)])
    # Of 0, 2, 4 and 8: the mean is 3.5, the variance (12.25 + 2.25 + 0.25 + 20.25) / 4 = 8.75.
    np.testing.assert_allclose(layer.moving_mean, [3.5], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [8.75], rtol=1e-6)
    assert layer.momentum == 0.97


def test_what_was_measured_before_is_forgotten_and_weights_stay() -> None:
    model, layer = one_layer()
    layer.gamma.assign([3.0])
    statistics = BatchNormStatistics(model)
    statistics.measure([batch(100, 300)])
    statistics.measure([batch(-1, 1)])
    np.testing.assert_allclose(layer.moving_mean, [0], atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [1], rtol=1e-6)
    np.testing.assert_array_equal(layer.gamma, [3])


def test_without_images_the_statistics_stay() -> None:
    model, layer = one_layer()
    statistics = BatchNormStatistics(model)
    statistics.measure([batch(4, 8)])
    statistics.measure([])
    np.testing.assert_allclose(layer.moving_mean, [6], rtol=1e-6)


def test_layers_within_a_nested_model_are_found() -> None:
    inner, layer = one_layer()
    image = keras.Input((None, None, 1))
    BatchNormStatistics(keras.Model(image, inner(image))).measure([batch(4, 8)])
    np.testing.assert_allclose(layer.moving_mean, [6], rtol=1e-6)


def test_a_batch_without_numbers_spoils_no_later_measurement() -> None:
    model, layer = one_layer()
    statistics = BatchNormStatistics(model)
    statistics.measure([batch(np.nan, 1)])
    assert np.isnan(layer.moving_mean).all()
    statistics.measure([batch(4, 8)])
    np.testing.assert_allclose(layer.moving_mean, [6], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [4], rtol=1e-6)
