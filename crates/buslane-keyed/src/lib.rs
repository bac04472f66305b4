//! buslane-keyed
