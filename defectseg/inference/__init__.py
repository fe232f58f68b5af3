"""From an image to a verdict. TensorFlow is loaded only where Keras is the engine."""
