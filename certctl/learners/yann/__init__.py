"""Networks that are the law of explicit MPC at the first episode, and actor-critic learning that starts there."""
