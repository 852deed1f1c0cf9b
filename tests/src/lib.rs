//! End-to-end, conformance and layering tests.
