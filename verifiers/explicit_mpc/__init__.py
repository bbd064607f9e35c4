"""Explicit model predictive control: multiparametric quadratic programs, their piecewise-affine laws, and proofs that the kernel checks."""
