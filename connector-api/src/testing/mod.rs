//! Test doubles and the conformance suite.
