//! The program: all of it is in the library, so that tests and benches reach it.

use std::io::Write;

fn main() {
    let code = mega_store::cli::main(std::env::args_os().collect());
    let _ = std::io::stdout().flush();
    // At once: a thread that still waits for a client would find RocksDB's globals taken down.
    signal_hook::low_level::exit(code.into())
}
