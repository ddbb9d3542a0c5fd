//! Answers peers from the store.
