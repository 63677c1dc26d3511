"""RF-CF as ONE ONNX graph: profile, owned, eligible → ids, scores, codes.

The two forests become ONE TreeEnsembleRegressor of leaf distributions with zeros left out. scikit-learn compares
float32 rows with float64 thresholds; the graph's thresholds are rounded DOWN to float32, which decides every float32
row alike. Missing values (NaN) go where scikit-learn sends them, node by node; nothing is imputed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, checker, helper, numpy_helper

from services.recommend.domain.acceptance import SMOOTHING, Calibration
from services.recommend.domain.matrix import UNFIT
from services.recommend.domain.rf_cf import Forest, round_down
from services.recommend.training.fit import Forests

_OPSET, _ML_OPSET, _IR = 17, 3, 8


def forest_of(forests: Forests, features: int) -> Forest:
    """Both forests as one: tree t asks whether anything is owned and goes on in cold tree t or in warm tree t."""
    products = forests.products
    parts: list[dict[str, npt.NDArray[Any]]] = []
    roots, offset = [], 0
    for cold, warm in zip(forests.cold.estimators_, forests.warm.estimators_, strict=True):
        cold_value = np.ones((cold.tree_.node_count, products + 1))
        cold_value[:, :-1] = cold.tree_.value[:, :, 0]
        warm_value = np.zeros((warm.tree_.node_count, products + 1))
        warm_value[:, forests.warm.classes_] = warm.tree_.value[:, 0, :]
        below = [offset + 1, offset + 1 + cold.tree_.node_count]
        fork = {
            "left": np.array([below[0]]),
            "right": np.array([below[1]]),
            "feature": np.array([features + products]),
            "threshold": np.array([0.5]),
            "missing_left": np.array([True]),
            "value": warm_value[:1],
        }
        parts += [fork, _nodes(cold.tree_, cold_value, below[0]), _nodes(warm.tree_, warm_value, below[1])]
        roots.append(offset)
        offset = below[1] + warm.tree_.node_count
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Forest(
        root=np.array(roots, dtype=np.int32),
        left=joined["left"].astype(np.int32),
        right=joined["right"].astype(np.int32),
        feature=joined["feature"].astype(np.int32),
        threshold=round_down(joined["threshold"]),
        missing_left=joined["missing_left"],
        value=joined["value"].astype(np.float32),
    )


def _nodes(tree: Any, value: npt.NDArray[np.float64], offset: int) -> dict[str, npt.NDArray[Any]]:
    own = np.arange(tree.node_count)
    leaf = tree.children_left < 0
    return {
        "left": np.where(leaf, own, tree.children_left) + offset,
        "right": np.where(leaf, own, tree.children_right) + offset,
        "feature": np.where(leaf, 0, tree.feature),
        "threshold": np.where(leaf, 0.0, tree.threshold),
        "missing_left": tree.missing_go_to_left.astype(bool),
        "value": value,
    }


def ensemble(forest: Forest, source: str, target: str) -> Any:
    """The TreeEnsembleRegressor node: mean of the leaves' values, float32 in and out."""
    number = np.arange(len(forest.left))
    tree = np.searchsorted(forest.root, number, side="right") - 1
    local = number - forest.root[tree]
    leaf = forest.left == number
    at, column = np.nonzero(np.where(leaf[:, None], forest.value, 0.0))
    return helper.make_node(
        "TreeEnsembleRegressor",
        [source],
        [target],
        domain="ai.onnx.ml",
        aggregate_function="AVERAGE",
        n_targets=forest.value.shape[1],
        nodes_treeids=tree.tolist(),
        nodes_nodeids=local.tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_featureids=forest.feature.tolist(),
        nodes_values=forest.threshold.tolist(),
        nodes_truenodeids=np.where(leaf, 0, forest.left - forest.root[tree]).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, forest.right - forest.root[tree]).tolist(),
        nodes_missing_value_tracks_true=(forest.missing_left & ~leaf).astype(np.int64).tolist(),
        target_treeids=tree[at].tolist(),
        target_nodeids=local[at].tolist(),
        target_ids=column.tolist(),
        target_weights=forest.value[at, column].tolist(),
    )


def graph(forest: Forest, calibration: Calibration, product_ids: Sequence[str], features: int) -> bytes:
    """The serialised model; the same forest gives the same bytes.

    Inputs: profile float32 [n, f] (NaN is missing), owned float32 [n, p] of 0 and 1, eligible bool [n, p]. Outputs,
    best first, all p of them: ids int64, scores float32 (UNFIT for what is owned or not eligible), codes string, each
    [n, p].
    """
    products = len(product_ids)
    constants = {
        "half": np.float32(0.5),
        "one": np.float32(1.0),
        "smoothing": np.float32(SMOOTHING),
        "unfit": np.float32(UNFIT),
        "parts": np.array([products, 1], dtype=np.int64),
        "most": np.array([products], dtype=np.int64),
        "slope_0": calibration.slope[0].astype(np.float32),
        "slope_1": calibration.slope[1].astype(np.float32),
        "intercept_0": calibration.intercept[0].astype(np.float32),
        "intercept_1": calibration.intercept[1].astype(np.float32),
        "product_ids": np.array(list(product_ids), dtype=object),
    }
    node = helper.make_node
    nodes = [
        node("ReduceMax", ["owned"], ["any"], axes=[1], keepdims=1),
        node("Concat", ["profile", "owned", "any"], ["row"], axis=1),
        ensemble(forest, "row", "distribution"),
        node("Split", ["distribution", "parts"], ["share", "none"], axis=1),
        # Log-odds: against "nothing more" where something is owned, against the other customers where nothing is.
        node("Sub", ["one", "any"], ["empty"]),
        node("Mul", ["share", "empty"], ["own_part"]),
        node("Sub", ["none", "own_part"], ["against"]),
        node("Add", ["share", "smoothing"], ["share_smooth"]),
        node("Add", ["against", "smoothing"], ["against_smooth"]),
        node("Log", ["share_smooth"], ["log_share"]),
        node("Log", ["against_smooth"], ["log_against"]),
        node("Sub", ["log_share", "log_against"], ["odds"]),
        node("Greater", ["any", "half"], ["owns"]),
        node("Where", ["owns", "slope_1", "slope_0"], ["slope"]),
        node("Where", ["owns", "intercept_1", "intercept_0"], ["intercept"]),
        node("Mul", ["odds", "slope"], ["sloped"]),
        node("Add", ["sloped", "intercept"], ["logit"]),
        node("Sigmoid", ["logit"], ["probability"]),
        node("Greater", ["owned", "half"], ["held"]),
        node("Not", ["held"], ["free"]),
        node("And", ["eligible", "free"], ["allowed"]),
        node("Where", ["allowed", "probability", "unfit"], ["masked"]),
        node("TopK", ["masked", "most"], ["scores", "ids"], axis=1, largest=1, sorted=1),
        node("Gather", ["product_ids", "ids"], ["codes"], axis=0),
    ]
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "rf_cf",
        [
            value("profile", TensorProto.FLOAT, ["n", features]),
            value("owned", TensorProto.FLOAT, ["n", products]),
            value("eligible", TensorProto.BOOL, ["n", products]),
        ],
        [
            value("ids", TensorProto.INT64, ["n", products]),
            value("scores", TensorProto.FLOAT, ["n", products]),
            value("codes", TensorProto.STRING, ["n", products]),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=_IR, producer_name="lifecircle.recommend")
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
