//! The conformance suites against the model.
