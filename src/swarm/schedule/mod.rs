//! What is asked of whom and when: a pure state machine.
