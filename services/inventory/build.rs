//! A migration that was added is part of the program, though no line of it names the file.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
