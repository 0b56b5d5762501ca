//! Finds the known key nearest to an unknown one.
//!
//! Runs at start-up, on the main thread only. It must never see values, only names.

/// Longer names are cut before they are compared: the effort grows with the product of the lengths.
const COMPARED_CHARACTERS: usize = 64;

/// A suggestion of the known key nearest to `written`; `spell` formats the key as the user would write it.
pub(super) fn suggestion<'a>(
    written: &str,
    known: impl Iterator<Item = &'a str>,
    spell: impl Fn(&str) -> String,
) -> String {
    match nearest(written, known) {
        Some((key, true)) => format!("did you mean {}?", spell(key)),
        Some((key, false)) => format!("the nearest known one is {}; config.toml.example lists all", spell(key)),
        None => "nothing is known".to_owned(),
    }
}

/// The known key nearest to `written`, and whether it is near enough to be meant.
pub(super) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<(&'a str, bool)> {
    let written: String = written.chars().take(COMPARED_CHARACTERS).collect();
    let written = written.to_lowercase();
    // Of those that are equally far, one in the same section is meant rather.
    let is_elsewhere = |key: &str| section(key) != section(&written);
    let (far, _, key) = known.map(|key| (distance(&written, key), is_elsewhere(key), key)).min()?;
    Some((key, far <= 2 + last(&written).chars().count() / 4))
}

/// A correct name in the wrong section, or in none, is nearer than a wrong name in the right one.
fn distance(written: &str, key: &str) -> usize {
    let whole = strsim::damerau_levenshtein(written, key);
    let name = strsim::damerau_levenshtein(last(written), last(key));
    whole.min(name + 1)
}

fn section(key: &str) -> Option<&str> {
    key.split_once('.').map(|(section, _)| section)
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["delivery.threads", "delivery.timeout", "server.listen", "storage.cache"];

    fn suggested(written: &str) -> String {
        suggestion(written, KNOWN.into_iter(), |key| format!("{key:?}"))
    }

    #[test]
    fn slips_wrong_sections_and_missing_sections_are_seen_through() {
        for (written, meant) in [
            ("delivery.thread", "delivery.threads"),
            ("delivery.Threads", "delivery.threads"),
            ("server.threads", "delivery.threads"),
            ("listen", "server.listen"),
            ("delivrey.timeuot", "delivery.timeout"),
            ("storage_cache", "storage.cache"),
        ] {
            assert_eq!(suggested(written), format!("did you mean {meant:?}?"));
        }
    }

    #[test]
    fn a_far_name_still_gets_a_pointer() {
        assert!(suggested("xyzzy.plugh").starts_with("the nearest known one is "));
        assert!(suggested(&"long".repeat(100_000)).contains("nearest"));
    }
}
