import numpy as np
from sklearn.ensemble import ExtraTreesClassifier

from defectseg.bundle import Tree
from defectseg.evaluation.gate_calibration import fit_forest
from defectseg.quality.forest import open_forest


def test_trees_are_walked_from_root_to_leaf() -> None:
    # Up to 1 in the second coordinate to the left, which is a leaf; then by the first, up to 0.
    tree = Tree(
        feature=(1, 0, 0, 0, 0),
        threshold=(1.0, 0.0, 0.0, 0.0, 0.0),
        left=(1, 1, 3, 3, 4),
        right=(2, 1, 4, 3, 4),
        answer=(0.5, 0.1, 0.5, 0.2, 0.9),
    )
    leaf = Tree(feature=(0,), threshold=(0.0,), left=(0,), right=(0,), answer=(0.3,))
    ask = open_forest([tree, leaf])
    assert ask(np.array([5.0, 1.0])) == (0.1 + 0.3) / 2
    assert ask(np.array([0.0, 1.5])) == (0.2 + 0.3) / 2
    assert ask(np.array([0.1, 1.5])) == (0.9 + 0.3) / 2


def test_a_stored_forest_answers_as_the_fitted_one() -> None:
    rng = np.random.default_rng(5)
    points = rng.normal(size=(400, 12))
    broken = [bool(own) for own in points[:, 0] * points[:, 1] > 0.2]
    ask = open_forest(fit_forest(points, broken))
    fitted = ExtraTreesClassifier(
        30, min_samples_leaf=2, max_leaf_nodes=150, class_weight="balanced", random_state=0
    ).fit(points, broken)
    others = rng.normal(size=(200, 12))
    differences = [
        ask(own) - expected
        for own, expected in zip(others, fitted.predict_proba(others)[:, 1], strict=True)
    ]
    # Thresholds are stored with four decimals: hardly a point comes that near to one.
    assert np.mean(np.abs(differences)) < 1e-3


def test_without_broken_references_nothing_is_broken_and_the_other_way_round() -> None:
    points = np.random.default_rng(0).normal(size=(20, 12))
    for broken in (False, True):
        ask = open_forest(fit_forest(points, [broken] * 20))
        assert ask(points[3]) == float(broken)
