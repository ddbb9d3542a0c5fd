//! The exchange protocol: frames and messages over slices, without I/O.
