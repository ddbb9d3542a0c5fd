//! The real listener, asked by real clients.

mod access;
mod content;
mod encrypted;
mod hostile;
mod shutdown;
mod walk;
mod world;
