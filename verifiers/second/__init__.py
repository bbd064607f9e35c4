"""A second, independent checker: the same claims in ball arithmetic (python-flint), with the ``onnx`` package's reader and a search of its own.

It shares no code with the kernel (a contract test holds that), reads no leaf's tag as true, and never says *proved*: it agrees, or it does not.
See docs/theory/second.md.
"""
