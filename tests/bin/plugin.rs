//! `kubectl-flexlvm`, as its own package builds it.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubectl_flexlvm::main()
}
