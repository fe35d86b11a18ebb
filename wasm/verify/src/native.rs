//! Prints what the module makes.

fn main() {
    print!("{}", subrosa_wasm_verify::verdicts());
}
