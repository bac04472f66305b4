//! buslane-testkit
