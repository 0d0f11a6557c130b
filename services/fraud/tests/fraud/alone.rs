//! The promise that it was added under: none of the others knows of it.

use std::path::Path;

/// The files below a folder, by what they say.
fn read(folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, files);
        } else {
            files.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn no_other_service_knows_of_it() {
    let mut files = Vec::new();
    for service in ["order", "payment", "inventory", "email"] {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(service), &mut files);
    }
    assert!(files.len() > 50, "{} files are not four services", files.len());
    for (path, text) in files {
        let text = text.to_lowercase();
        assert!(!text.contains("fraud") && !text.contains("flagged"), "{path} speaks of it");
    }
    assert!(contracts::subscription("fraud").is_none(), "nor do those who declare for the four");
}
