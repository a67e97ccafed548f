//! `kubectl-flexlvm`: kubectl runs it as `kubectl flexlvm`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubectl_flexlvm::main()
}
