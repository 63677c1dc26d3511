"""RF-CF as ONE ONNX graph: profile, owned, eligible → ids, scores, codes.

Each part of the model is a few nodes: the forests, the log-linear filter in float64, the boosters; a part without
weight is left out. The two forests become ONE TreeEnsembleRegressor of leaf distributions with zeros left out, all
boosters another. Training compares float32 rows with float64 thresholds; the graph's thresholds are rounded DOWN to
float32, which decides every float32 row alike. Missing values (NaN) go
where training sent them, node by node; nothing is imputed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, checker, helper, numpy_helper

from services.recommend.domain.acceptance import SMOOTHING, Calibration
from services.recommend.domain.log_linear import Basis, LogLinear
from services.recommend.domain.matrix import UNFIT
from services.recommend.domain.network import Network
from services.recommend.domain.rf_cf import Forest, round_down
from services.recommend.training.boosting import Boosting
from services.recommend.training.fit import Ensemble
from services.recommend.training.forests import Forests

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


def ensemble_node(forest: Forest, source: str, target: str) -> Any:
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


def boosters(found: Boosting, features: int, source: str, target: str) -> Any:
    """The boosters as one TreeEnsembleRegressor: a fork by whether anything is owned, then the cold or the warm tree.

    A product without a booster has its constant as a tree of one leaf.
    """
    products = len(found.warm)
    nodes: dict[str, list[float]] = {
        name: [] for name in ("tree", "id", "mode", "feature", "value", "yes", "no", "nan")
    }
    leaves: dict[str, list[float]] = {name: [] for name in ("tree", "id", "target", "weight")}
    tree = 0
    for product in range(products):
        cold = _trees(found.cold[product], float(found.base[0, product]))
        warm = _trees(found.warm[product], float(found.base[1, product]))
        for number in range(max(len(cold), len(warm))):
            pair = [side[number] if number < len(side) else {"leaf_value": 0.0} for side in (cold, warm)]
            table: list[Any] = [None]
            first = _flat(pair[0], table)
            second = _flat(pair[1], table)
            table[0] = (features + products, 0.5, True, first, second, None)
            for place, (column, value, missing, yes, no, leaf) in enumerate(table):
                at = (tree, place, leaf is None, column, value, yes, no, missing)
                for name, each in zip(nodes, at, strict=True):
                    nodes[name].append(each)
                if leaf is not None:
                    for name, each in zip(leaves, (tree, place, product, leaf), strict=True):
                        leaves[name].append(each)
            tree += 1
    inner = np.array(nodes["mode"], dtype=bool)
    return helper.make_node(
        "TreeEnsembleRegressor",
        [source],
        [target],
        domain="ai.onnx.ml",
        aggregate_function="SUM",
        n_targets=products,
        nodes_treeids=nodes["tree"],
        nodes_nodeids=nodes["id"],
        nodes_modes=np.where(inner, "BRANCH_LEQ", "LEAF").tolist(),
        nodes_featureids=nodes["feature"],
        nodes_values=round_down(np.array(nodes["value"], dtype=np.float64)).tolist(),
        nodes_truenodeids=nodes["yes"],
        nodes_falsenodeids=nodes["no"],
        nodes_missing_value_tracks_true=[int(each) for each in nodes["nan"]],
        target_treeids=leaves["tree"],
        target_nodeids=leaves["id"],
        target_ids=leaves["target"],
        target_weights=leaves["weight"],
    )


def _trees(mine: Sequence[Any], base: float) -> list[dict[str, Any]]:
    if not mine:
        return [{"leaf_value": base}]
    return [tree["tree_structure"] for tree in mine[0].dump_model()["tree_info"]]


def _flat(node: dict[str, Any], table: list[Any]) -> int:
    """Append a tree's nodes, (feature, threshold, missing left, left, right, leaf value); gives the root's place."""
    place = len(table)
    table.append(None)
    if "split_feature" not in node:
        table[place] = (0, 0.0, False, 0, 0, float(node["leaf_value"]))
        return place
    left, right = _flat(node["left_child"], table), _flat(node["right_child"], table)
    threshold = float(node["threshold"])
    # LightGBM takes a missing value for 0 at a split that saw none missing.
    missing = bool(node["default_left"]) if node["missing_type"] == "NaN" else threshold >= 0.0
    table[place] = (int(node["split_feature"]), threshold, missing, left, right, None)
    return place


def _basis(basis: Basis, parts: dict[str, Any]) -> list[Any]:
    """Nodes from `profile` to `columns`, in float64; constants are added to `parts`."""
    node = helper.make_node
    parts |= {
        "low": basis.low,
        "high": basis.high,
        "center": basis.center,
        "scale": basis.scale,
        "hinge": basis.column,
        "knot": basis.knot,
        "hinge_scale": basis.scale[basis.column],
        "gap": basis.gap,
        "zero": np.float32(0.0),
        "zero_wide": np.float64(0.0),
    }
    return [
        node("Max", ["profile", "low"], ["raised"]),
        node("Min", ["raised", "high"], ["clipped"]),
        node("Sub", ["clipped", "center"], ["centered"]),
        node("Cast", ["centered"], ["centered_wide"], to=TensorProto.DOUBLE),
        node("Div", ["centered_wide", "scale"], ["straight"]),
        node("Gather", ["clipped", "hinge"], ["picked"], axis=1),
        node("Sub", ["picked", "knot"], ["above"]),
        node("Max", ["above", "zero"], ["bent"]),
        node("Cast", ["bent"], ["bent_wide"], to=TensorProto.DOUBLE),
        node("Div", ["bent_wide", "hinge_scale"], ["hinges"]),
        node("Gather", ["profile", "gap"], ["gappy"], axis=1),
        node("IsNaN", ["gappy"], ["gaps"]),
        node("Cast", ["gaps"], ["gaps_wide"], to=TensorProto.DOUBLE),
        node("Concat", ["straight", "hinges", "gaps_wide"], ["told"], axis=1),
        node("IsNaN", ["told"], ["untold"]),
        node("Where", ["untold", "zero_wide", "told"], ["columns"]),
        node("Cast", ["owned"], ["owned_wide"], to=TensorProto.DOUBLE),
    ]


def _linear(found: LogLinear, parts: dict[str, Any]) -> list[Any]:
    """Nodes from `profile`, `owned` and `any` to `linear_odds`, in float64; constants are added to `parts`."""
    node = helper.make_node
    parts |= {
        "weight_cold": found.weight[0],
        "weight_warm": found.weight[1],
        "bias_cold": found.bias[0],
        "bias_warm": found.bias[1],
        "pair": found.pair,
    }
    return [
        *_basis(found.basis, parts),
        node("MatMul", ["columns", "weight_cold"], ["cold_part"]),
        node("Add", ["cold_part", "bias_cold"], ["cold_odds"]),
        node("MatMul", ["columns", "weight_warm"], ["warm_part"]),
        node("MatMul", ["owned_wide", "pair"], ["pair_part"]),
        node("Add", ["warm_part", "pair_part"], ["warm_sum"]),
        node("Add", ["warm_sum", "bias_warm"], ["warm_odds"]),
        node("Where", ["owns", "warm_odds", "cold_odds"], ["linear_odds"]),
    ]


def _network(found: Network, parts: dict[str, Any]) -> list[Any]:
    """Nodes from `profile` and `owned` to `linear_odds`, in float64; constants are added to `parts`."""
    node = helper.make_node
    parts |= {
        "first": found.first,
        "first_bias": found.first_bias,
        "last": found.last,
        "last_bias": found.last_bias,
        "rest": np.float64(0.0),
    }
    return [
        *_basis(found.basis, parts),
        node("Concat", ["columns", "owned_wide"], ["seen"], axis=1),
        node("MatMul", ["seen", "first"], ["first_part"]),
        node("Add", ["first_part", "first_bias"], ["first_sum"]),
        node("Max", ["first_sum", "rest"], ["hidden"]),
        node("MatMul", ["hidden", "last"], ["last_part"]),
        node("Add", ["last_part", "last_bias"], ["linear_odds"]),
    ]


def graph(
    ensemble: Ensemble, forest: Forest, calibration: Calibration, product_ids: Sequence[str], features: int
) -> bytes:
    """The serialised model; the same model gives the same bytes.

    Inputs: profile float32 [n, f] (NaN is missing), owned float32 [n, p] of 0 and 1, eligible bool [n, p]. Outputs,
    best first, all p of them: ids int64, scores float32 (UNFIT for what is owned or not eligible), codes string, each
    [n, p].
    """
    products = len(product_ids)
    constants: dict[str, Any] = {
        "half": np.float32(0.5),
        "unfit": np.float32(UNFIT),
        "most": np.array([products], dtype=np.int64),
        "slope_0": calibration.slope[0],
        "slope_1": calibration.slope[1],
        "intercept_0": calibration.intercept[0],
        "intercept_1": calibration.intercept[1],
        "product_ids": np.array(list(product_ids), dtype=object),
    }
    node = helper.make_node
    nodes = [
        node("ReduceMax", ["owned"], ["any"], axes=[1], keepdims=1),
        node("Greater", ["any", "half"], ["owns"]),
        node("Concat", ["profile", "owned", "any"], ["row"], axis=1),
        *_parts(ensemble, forest, features, constants),
        node("Where", ["owns", "slope_1", "slope_0"], ["slope"]),
        node("Where", ["owns", "intercept_1", "intercept_0"], ["intercept"]),
        node("Mul", ["odds", "slope"], ["sloped"]),
        node("Add", ["sloped", "intercept"], ["logit"]),
        node("Sigmoid", ["logit"], ["probability_wide"]),
        node("Cast", ["probability_wide"], ["probability"], to=TensorProto.FLOAT),
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


def _parts(ensemble: Ensemble, forest: Forest, features: int, constants: dict[str, Any]) -> list[Any]:
    """Nodes to `odds` float64: every part that has a weight, and their weighted sum."""
    node, weights = helper.make_node, ensemble.weights
    nodes: list[Any] = []
    names = []
    if weights[:, 0].any():
        nodes += _forest(forest, ensemble.forests.products, constants)
        names.append((0, "forest_odds"))
    if weights[:, 1].any():
        filter_ = ensemble.linear
        nodes += _network(filter_, constants) if isinstance(filter_, Network) else _linear(filter_, constants)
        names.append((1, "linear_odds"))
    if weights[:, 2].any() and ensemble.boosting is not None:
        nodes += [boosters(ensemble.boosting, features, "row", "boosted")]
        nodes.append(node("Cast", ["boosted"], ["boosting_odds"], to=TensorProto.DOUBLE))
        names.append((2, "boosting_odds"))
    for number, name in names:
        for side in (0, 1):
            constants[f"{name}_weight_{side}"] = np.array([weights[side, number]])
        nodes.append(node("Where", ["owns", f"{name}_weight_1", f"{name}_weight_0"], [f"{name}_weight"]))
        nodes.append(node("Mul", [name, f"{name}_weight"], [f"{name}_part"]))
    nodes.append(node("Sum", [f"{name}_part" for _, name in names], ["odds"]))
    return nodes


def _forest(forest: Forest, products: int, constants: dict[str, Any]) -> list[Any]:
    """Nodes from `row` to `forest_odds`, as acceptance.log_odds."""
    node = helper.make_node
    constants |= {
        "one": np.float64(1.0),
        "smoothing": np.float64(SMOOTHING),
        "parts": np.array([products, 1], dtype=np.int64),
    }
    return [
        ensemble_node(forest, "row", "distribution_single"),
        node("Cast", ["distribution_single"], ["distribution"], to=TensorProto.DOUBLE),
        node("Cast", ["any"], ["any_wide"], to=TensorProto.DOUBLE),
        node("Split", ["distribution", "parts"], ["share", "none"], axis=1),
        node("Sub", ["one", "any_wide"], ["empty"]),
        node("Mul", ["share", "empty"], ["own_part"]),
        node("Sub", ["none", "own_part"], ["against"]),
        node("Add", ["share", "smoothing"], ["share_smooth"]),
        node("Add", ["against", "smoothing"], ["against_smooth"]),
        node("Log", ["share_smooth"], ["log_share"]),
        node("Log", ["against_smooth"], ["log_against"]),
        node("Sub", ["log_share", "log_against"], ["forest_odds"]),
    ]
