//! The style, the script and the icon of the pages, in the binary. Their paths change with their content, so browsers keep
//! them for good. Open to everybody.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sha2::{Digest as _, Sha256};

/// A file of the pages.
pub struct Asset {
    text: &'static str,
    media_type: &'static str,
    path: LazyLock<String>,
}

/// Where they lie.
pub const STYLE_PATH: &str = "/assets/dashboard.css";
/// The same of the script.
pub const SCRIPT_PATH: &str = "/assets/dashboard.js";
/// The same of the icon.
pub const ICON_PATH: &str = "/assets/icon.svg";

const STYLE_TEXT: &str = include_str!("assets/dashboard.css");
const SCRIPT_TEXT: &str = include_str!("assets/dashboard.js");
const ICON_TEXT: &str = include_str!("assets/icon.svg");

pub static STYLE: Asset = Asset {
    text: STYLE_TEXT,
    media_type: "text/css; charset=utf-8",
    path: LazyLock::new(|| versioned(STYLE_PATH, STYLE_TEXT)),
};
pub static SCRIPT: Asset = Asset {
    text: SCRIPT_TEXT,
    media_type: "text/javascript; charset=utf-8",
    path: LazyLock::new(|| versioned(SCRIPT_PATH, SCRIPT_TEXT)),
};
pub static ICON: Asset =
    Asset { text: ICON_TEXT, media_type: "image/svg+xml", path: LazyLock::new(|| versioned(ICON_PATH, ICON_TEXT)) };

fn versioned(path: &str, text: &str) -> String {
    let digest = hex::encode(Sha256::digest(text));
    format!("{path}?v={}", digest.get(..12).unwrap_or_default())
}

impl Asset {
    /// Where a page finds it.
    #[must_use]
    pub fn path(&'static self) -> &'static str {
        &self.path
    }

    fn show(&self) -> HttpResponse {
        HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, self.media_type))
            .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
            .body(self.text)
    }
}

/// `GET` of the style.
pub async fn style() -> HttpResponse {
    STYLE.show()
}

/// `GET` of the script.
pub async fn script() -> HttpResponse {
    SCRIPT.show()
}

/// `GET` of the icon.
pub async fn icon() -> HttpResponse {
    ICON.show()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_page_stays_small() {
        assert!(SCRIPT_TEXT.len() <= 15 * 1024, "{} bytes of script", SCRIPT_TEXT.len());
        assert!(STYLE_TEXT.len() + SCRIPT_TEXT.len() + ICON_TEXT.len() <= 40 * 1024);
    }
}
