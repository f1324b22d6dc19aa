//! Mutants read, applied, refused, and given another seed.

use super::*;

const TEXT: &str = "\
# why this one matters
title = \"the ack is sent before the sync\"
seed = 17
file = \"a.rs\"
find = '''
    sync();
    ack();
'''
replace = '''
    ack();
    sync();
'''

[[edit]]
file = \"b.rs\"
find = \"<\"
replace = \"\"
";

fn code(file: &str) -> Option<String> {
    match file {
        "a.rs" => Some("fn f() {\n    sync();\n    ack();\n}\n".into()),
        "b.rs" => Some("1 < 2\n".into()),
        _ => None,
    }
}

fn refusal(text: &str) -> String {
    let applied = Mutant::parse(Hunter::Sim, "x", text).and_then(|mutant| mutant.apply(code));
    format!("{:#}", applied.unwrap_err())
}

#[test]
fn all_edits_are_applied() {
    let mutant = Mutant::parse(Hunter::Sim, "ack-early", TEXT).unwrap();
    assert_eq!((mutant.title.as_str(), mutant.seed), ("the ack is sent before the sync", Some(17)));
    let texts = mutant.apply(code).unwrap();
    assert_eq!(texts["a.rs"], "fn f() {\n    ack();\n    sync();\n}\n");
    assert_eq!(texts["b.rs"], "1  2\n");
}

#[test]
fn a_second_edit_of_a_file_sees_the_first() {
    let text = "title = 't'\nfile = 'b.rs'\nfind = '<'\nreplace = '>'\n\
                [[edit]]\nfile = 'b.rs'\nfind = '1 > 2'\nreplace = '2 > 1'\n";
    let texts = Mutant::parse(Hunter::Sim, "x", text).unwrap().apply(code).unwrap();
    assert_eq!(texts["b.rs"], "2 > 1\n");
}

#[test]
fn what_cannot_be_planted_is_refused() {
    assert!(refusal(&TEXT.replace("a.rs", "gone.rs")).contains("there is no gone.rs"));
    assert!(refusal(&TEXT.replace("\"<\"", "\">\"")).contains("occurs 0 times in b.rs"));
    assert!(refusal(&TEXT.replace("\"<\"", "\" \"")).contains("occurs 2 times in b.rs"));
    assert!(refusal(&TEXT.replace("\"<\"", "\"\"")).contains("`find` is empty"));
    assert!(refusal(&TEXT.replace("replace = \"\"", "replace = \"<\"")).contains("the same"));
    assert!(refusal(&TEXT.replace("seed =", "sede =")).contains("sede"));
    assert!(refusal(&TEXT.replace("title =", "# title =")).contains("title"));
}

#[test]
fn a_seed_is_written_and_all_else_kept() {
    assert_eq!(with_seed(TEXT, 4), TEXT.replace("seed = 17", "seed = 4"));
    let seedless = TEXT.replace("seed = 17\n", "");
    assert_eq!(with_seed(&seedless, 17), TEXT);
}

#[test]
fn mutants_are_told_from_other_files() {
    assert_eq!(name("sim/mutants/ack-early.toml"), Some((Hunter::Sim, "ack-early")));
    assert_eq!(name("sim/shared-log-mutants/late.toml"), Some((Hunter::SharedLog, "late")));
    assert_eq!(name("races/mutants/late.toml"), Some((Hunter::Races, "late")));
    assert_eq!(name("sim/mutants/README.md"), None);
    assert_eq!(name("sim/Cargo.toml"), None);
}
