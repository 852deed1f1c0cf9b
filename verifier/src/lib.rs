//! Abstract-interpretation verifier: the only constructor of VerifiedProgram.
