//! Tests of the index of sources against naive models and damaged bytes.

use super::*;
use dualstream_core::filter::Filter;
use proptest::prelude::*;
use std::collections::BTreeSet;

type Added = (String, String, u32);

fn build(added: &[Added]) -> (SourcesBuilder, SealedSources) {
    let mut builder = SourcesBuilder::new(7);
    for (source_type, id, block) in added {
        builder.add(source_type.as_bytes(), id.as_bytes(), *block);
    }
    let sealed = SealedSources::decode(builder.encode()).unwrap();
    (builder, sealed)
}

fn naive(added: &[Added], filter: &Filter) -> Vec<u32> {
    let wanted = added.iter().filter(|(t, id, _)| filter.matches(t.as_bytes(), id.as_bytes()));
    wanted.map(|a| a.2).collect::<BTreeSet<_>>().into_iter().collect()
}

fn check(added: &[Added], filter: &Filter) {
    let (builder, sealed) = build(added);
    let expected = naive(added, filter);
    assert_eq!(builder.blocks(filter), expected, "{filter:?}");
    assert_eq!(sealed.blocks(filter), expected, "{filter:?}");
}

fn added() -> impl Strategy<Value = Vec<Added>> {
    let one = ("(user|users|u|repo|a:b|)", "[ab:]{0,3}|[0-9]{1,3}", 0u32..4);
    proptest::collection::vec(one, 0..150).prop_map(|mut all| {
        let mut block = 0;
        for (_, _, later) in &mut all {
            block += *later;
            *later = block;
        }
        all
    })
}

fn filters() -> impl Strategy<Value = Filter> {
    let exact = proptest::collection::btree_set("(user|users|a|a:b|):([ab:]{0,3}|[0-9]{1,2})", 0..4);
    let prefixes = proptest::collection::vec("(user|users|u|repo|a:b|a|)(:[ab:]{0,2}|)", 0..3);
    prop_oneof![
        8 => (exact, prefixes).prop_map(|(exact, prefixes)| Filter::Sources { exact, prefixes }),
        1 => Just(Filter::All),
    ]
}

proptest! {
    #[test]
    fn both_forms_agree_with_a_scan(added in added(), filter in filters()) {
        check(&added, &filter);
    }

    #[test]
    fn names_are_the_first_with_the_prefix_in_order(
        added in added(), more in added(), prefix in "(user|users|u|a:b|a|)(:[ab:]{0,2}|)",
        after in proptest::option::of("(user|users|u|a:b|a|)(:[ab:]{0,2}|)"), max in 1usize..40,
    ) {
        let names = |added: &[Added]| -> BTreeSet<Vec<u8>> {
            added.iter().map(|(t, id, _)| format!("{t}:{id}").into_bytes()).collect()
        };
        let all: BTreeSet<_> = names(&added).union(&names(&more)).cloned().collect();
        let wanted = |name: &&Vec<u8>| {
            name.starts_with(prefix.as_bytes()) && after.as_ref().is_none_or(|after| name.as_slice() > after.as_bytes())
        };
        let expected: BTreeSet<_> = all.iter().filter(wanted).take(max).cloned().collect();
        let range = SourceRange { prefix: prefix.clone().into(), after: after.clone().map(Into::into), max };
        let (one, other) = (build(&added), build(&more));
        let (mut of_builders, mut of_sealed, mut of_both) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        one.0.add_names(&range, &mut of_builders);
        other.0.add_names(&range, &mut of_builders);
        one.1.add_names(&range, &mut of_sealed);
        other.1.add_names(&range, &mut of_sealed);
        one.0.add_names(&range, &mut of_both);
        other.1.add_names(&range, &mut of_both);
        prop_assert_eq!(&of_builders, &expected);
        prop_assert_eq!(&of_sealed, &expected);
        prop_assert_eq!(&of_both, &expected);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), filter in filters()) {
        if let Ok(sealed) = SealedSources::decode(bytes) {
            sealed.blocks(&filter);
        }
    }

    #[test]
    fn changed_bytes_are_decoded_or_refused(
        added in added(), filter in filters(), at in any::<usize>(), with in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut bytes = build(&added).0.encode();
        let at = at % bytes.len();
        bytes[at] = with;
        bytes.truncate(if cut { at + 1 } else { bytes.len() });
        if let Ok(sealed) = SealedSources::decode(bytes) {
            sealed.blocks(&filter);
            sealed.add_names(&SourceRange { prefix: Vec::new(), after: None, max: 9 }, &mut BTreeSet::new());
        }
    }
}

#[test]
fn what_is_one_name_is_one_source_however_it_is_split() {
    let added =
        [("a", "b:c", 1), ("a:b", "c", 5), ("a:b", "", 6)].map(|(t, id, b)| (t.to_owned(), id.to_owned(), b));
    for filter in
        [Filter::source("a:b:c"), Filter::prefix("a:"), Filter::prefix("a:b:"), Filter::source("a:b:")]
    {
        check(&added, &filter);
    }
    assert_eq!(build(&added).1.blocks(&Filter::source("a:b:c")), [1, 5]);
}

#[test]
fn blocks_past_the_bound_are_refused() {
    let with_block = |block: u32| {
        let mut encoder = sealed::Encoder::default();
        encoder.push(b"a:b", &[block]);
        SealedSources::decode(encoder.finish())
    };
    assert!(with_block(BLOCKS_MAX - 1).is_ok());
    assert!(with_block(BLOCKS_MAX).is_err());
    assert!(with_block(u32::MAX - 1).is_err());
}

#[test]
fn names_out_of_order_are_refused() {
    let mut encoder = sealed::Encoder::default();
    encoder.push(b"a:b", &[1]);
    encoder.push(b"a:b", &[2]);
    assert!(SealedSources::decode(encoder.finish()).is_err());
}

#[test]
fn a_record_takes_at_most_three_bytes() {
    // 64 MiB of 300-byte records of 5,000 sources in no order; 109 records a block.
    let records = (64u32 << 20) / 300;
    let mut builder = SourcesBuilder::new(7);
    let mut state = 1u64;
    for record in 0..records {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let source = (state >> 33) % 5_000;
        let id = format!("owner-{}/repo-{source}", source % 97);
        builder.add(if source.is_multiple_of(3) { b"repo" } else { b"user" }, id.as_bytes(), record / 109);
    }
    let bytes = builder.encode().len();
    println!("{:.2} bytes a record", bytes as f64 / f64::from(records));
    assert!(bytes <= 3 * records as usize);
}
