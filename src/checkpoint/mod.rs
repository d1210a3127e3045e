//! Files: weights, model folders, checkpoints of a run.
