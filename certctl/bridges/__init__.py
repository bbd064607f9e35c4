"""Bridges to what engineers already use: policies and plants that come in, code and models that go out.

Each bridge in compares what it built with what it was given, at many points, and says the largest difference.  Each bridge out starts from a
bundle that the kernel has just accepted, and writes from the very bytes that it hashed.
"""
