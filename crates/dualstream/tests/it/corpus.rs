//! The saved corpora of the fuzz targets (`fuzz/corpus`), replayed with the stable compiler.

use std::path::Path;

#[path = "../../../../fuzz/src/targets.rs"]
mod targets;

#[test]
fn fuzz_corpora_are_replayed() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in targets::ALL {
        let mut files: Vec<_> =
            std::fs::read_dir(corpora.join(name)).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 5, "{name} has no corpus");
        for file in files {
            println!("{name}: {}", file.display());
            target(&std::fs::read(&file).unwrap());
        }
    }
}
