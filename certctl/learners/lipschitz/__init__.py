"""Policies imitated from an expert under a Lipschitz bound."""
