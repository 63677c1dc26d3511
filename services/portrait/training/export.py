"""A machine as ONE ONNX graph of plain operators: profile (n, f) with NaN for missing → probability (n, c)."""

from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from services.portrait.domain.latent import Machine

_OPSET, _IR = 17, 8


def graph(machine: Machine) -> bytes:
    """The graph's bytes; the same machine gives the same bytes. It computes in float64."""
    nodes: list[Any] = []
    held: dict[str, Any] = {}

    def constant(name: str, value: Any) -> str:
        held[name] = numpy_helper.from_array(np.asarray(value, dtype=np.float64), name)
        return name

    def node(operator: str, inputs: list[str], output: str, **how: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **how))
        return output

    profile = node("Cast", ["profile"], "double", to=TensorProto.DOUBLE)
    missing = node("IsNaN", [profile], "missing")
    whole = node("Where", [missing, constant("fill", machine.fill), profile], "whole")
    z = node("Div", [node("Sub", [whole, constant("mean", machine.mean)], "centred"), constant("scale", machine.scale)],
             "z")  # fmt: skip
    told = node("MatMul", [z, constant("linear", machine.linear)], "straight")
    if len(machine.centre):
        twice = node("MatMul", [z, constant("centres", 2 * machine.centre.T)], "twice")
        own = node("ReduceSum", [node("Mul", [z, z], "squares"), "axis"], "own", keepdims=1)
        held["axis"] = numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")
        apart = node("Sub", [node("Add", [own, constant("lengths", (machine.centre**2).sum(axis=1))], "sum"), twice],
                     "apart")  # fmt: skip
        above = node("Max", [apart, constant("zero", 0.0)], "above")
        gauss = node("Exp", [node("Mul", [above, constant("gamma", -machine.gamma)], "raised")], "gauss")
        told = node("Add", [told, node("MatMul", [gauss, constant("dual", machine.dual)], "curved")], "both")
    odds = node("Add", [told, constant("bias", machine.bias)], "decision")
    odds = node("Add", [node("MatMul", [odds, constant("slope", machine.slope)], "sloped"),
                        constant("intercept", machine.intercept)], "odds")  # fmt: skip
    node("Softmax", [odds], "probability", axis=1)
    inputs = [helper.make_tensor_value_info("profile", TensorProto.FLOAT, [None, len(machine.features)])]
    outputs = [helper.make_tensor_value_info("probability", TensorProto.DOUBLE, [None, len(machine.classes)])]
    body = helper.make_graph(nodes, "latent", inputs, outputs, list(held.values()))
    made = helper.make_model(body, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    checker.check_model(made)
    return bytes(made.SerializeToString(deterministic=True))
