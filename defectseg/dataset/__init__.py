"""From labels to batches: masks, manifest, balance, augmentation, input pipeline."""
