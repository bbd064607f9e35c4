"""The listing of a graph tells all of it: it parses back."""

from __future__ import annotations

import ast
import re
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import RANDOM, RELAXED, graphs

from verifiers.kernel.graph import Affine, Builder
from verifiers.load.text import to_text

F = Fraction
LINE = re.compile(r"%(\d+) : (\d+) = (\w+)\(((?:%\d+(?:, )?)*)\)(?:  (.*))?")


@RANDOM
@given(data=st.data())
def test_the_text_tells_the_whole_graph(data: st.DataObject) -> None:
    graph = data.draw(graphs(RELAXED))
    *lines, last, end = to_text(graph).split("\n")
    assert (last, end) == ("return " + ", ".join(f"%{k}" for k in graph.outputs), "")
    assert len(lines) == len(graph.nodes)
    for i, (line, node) in enumerate(zip(lines, graph.nodes, strict=True)):
        match = LINE.fullmatch(line)
        assert match is not None, line
        index, size, op, args, text = match.groups()
        assert (int(index), int(size), op) == (i, node.size, node.op)
        assert tuple(map(int, re.findall(r"\d+", args))) == node.args
        if node.op == "const":
            ends = [tuple(map(F, part.split(" .. "))) for part in text[1:-1].split(", ")]
            assert tuple((e[0], e[-1]) for e in ends) == node.data
        elif node.op == "affine":
            weight, bias = re.fullmatch(r"W = (.*), b = (.*)", text).groups()  # type: ignore[union-attr]
            quoted = [ast.literal_eval(re.sub(r"[^][, ]+", r"'\g<0>'", t)) for t in (weight, bias)]
            assert tuple(tuple(map(F, map(exactly, row))) for row in quoted[0]) == node.data.rational()[0]
            assert tuple(map(F, map(exactly, quoted[1]))) == node.data.rational()[1]
        elif node.data is not None:
            assert ast.literal_eval(text) == list(node.data) if node.op == "take" else F(text) == node.data


def exactly(text: str) -> Fraction:
    """A decimal with a point or exponent is the float it denotes, anything else a rational."""
    return F(float(text)) if re.search(r"[.e]", text) else F(text)


def test_large_weights_are_summarised_and_still_told_apart() -> None:
    def listing(last: float) -> str:
        b = Builder()
        weight = np.arange(100.0).reshape(10, 10)
        weight[5, 5] = last
        return to_text(b.build([b.affine(b.input(10), Affine(weight, np.zeros(10)))]))

    assert "10 x 10 in [0, 99]" in listing(55.0)
    assert listing(55.0) == listing(55.0) != listing(np.nextafter(55.0, 56.0))
