//! `/subscriptions/{id}/verify`: programs that check the signature of a delivery. They are those of the guide for receivers,
//! which are tested, so nothing is written twice. Runs on the HTTP workers.

use actix_web::{HttpResponse, web};
use askama::Template;
use serde_json::Value;

use crate::http::dashboard::answers::Subscription;
use crate::http::dashboard::frame::{Frame, page};
use crate::http::dashboard::pages::subscriptions::find;
use crate::http::dashboard::parts;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::state::HttpState;

const GUIDE: &str = include_str!("../../../../docs/integrate.md");
const SECTION: &str = "\n## Check the signature\n";

#[derive(Template)]
#[template(path = "subscriptions/verify.html")]
struct VerifyPage {
    frame: Frame,
    subscription: Subscription,
    /// Options with which a delivery differs from what the programs expect, as text.
    differs: Vec<(&'static str, String)>,
    programs: Vec<Program>,
}

/// A receiver in one language.
struct Program {
    language: &'static str,
    code: &'static str,
}

/// Options that can change what a receiver has to check.
const CHANGING: [&str; 4] = ["mode", "names", "signatures", "format"];

/// Whether the programs are right with this value of one of those.
fn is_usual(name: &str, value: &Value) -> bool {
    match name {
        "mode" => value == "push",
        "format" => value == "json",
        "signatures" => value.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "tempclock")),
        _ => value.is_null(),
    }
}

/// The receivers of the guide.
fn programs() -> impl Iterator<Item = Program> {
    let (_, rest) = GUIDE.split_once(SECTION).unwrap_or_default();
    let section = rest.split("\n## ").next().unwrap_or_default();
    section.split("\n### ").skip(1).filter_map(|part| {
        let (language, rest) = part.split_once('\n')?;
        let (_, code) = rest.split_once("```")?.1.split_once('\n')?;
        Some(Program { language, code: code.split_once("\n```")?.0 })
    })
}

/// `GET /subscriptions/{id}/verify`.
pub async fn show(
    state: web::Data<HttpState>,
    visitor: Visitor,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let subscription = find(&state, &visitor, id).await?;
    let differs = CHANGING.into_iter().filter_map(|name| {
        let value = subscription.further.get(name).filter(|value| !is_usual(name, value))?;
        Some((name, parts::plain(value)))
    });
    page(&VerifyPage {
        frame: Frame::of(&visitor, "Check the signature", "/subscriptions"),
        differs: differs.collect(),
        programs: programs().collect(),
        subscription,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_of_the_guide_has_its_program() {
        let found: Vec<_> = programs().map(|program| program.language).collect();
        assert_eq!(found, ["PHP", "Python", "Node", "C#", "Java", "Go", "Ruby", "Apex"]);
        for Program { language, code } in programs() {
            let header = code.to_lowercase().replace('_', "-");
            assert!(header.contains("x-tempclock-signature") && !code.contains("```"), "{language}: {code}");
        }
    }
}
