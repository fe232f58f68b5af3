"""Whether a camera loses sharpness over time. No TensorFlow here."""
