//! `/deliveries/{id}`: one delivery with its attempts, what was sent and what came back. Runs on the HTTP workers.

use std::fmt::Write as _;

use actix_web::{HttpResponse, web};
use askama::Template;

use crate::http::api::deliveries;
use crate::http::dashboard::answers::{Attempt, Delivery, One, Request, read};
use crate::http::dashboard::form::Form;
use crate::http::dashboard::frame::{Frame, go_to, page};
use crate::http::dashboard::parts;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::Query;
use crate::http::request::state::HttpState;

type AppState = web::Data<HttpState>;
type HandlerResult = Result<HttpResponse, ApiError>;

/// What the page of a delivery says after it was asked to be sent again.
const RETRIED: &str = "The delivery is due now.";

#[derive(Template)]
#[template(path = "delivery.html")]
struct DeliveryPage {
    frame: Frame,
    delivery: Delivery,
    /// The body with line breaks.
    formatted: Option<String>,
    /// Newest first.
    attempts: Vec<Shown>,
}

/// An attempt with a command that repeats it.
struct Shown {
    attempt: Attempt,
    curl: Option<String>,
}

/// `GET /deliveries/{id}`.
pub async fn show(state: AppState, visitor: Visitor, path: web::Path<String>, query: Query) -> HandlerResult {
    let found: One<Delivery> = read(deliveries::read(state, visitor.caller(), path).await).await?;
    let mut delivery = found.data;
    let attempts = std::mem::take(&mut delivery.attempts).into_iter().rev();
    let attempts = attempts.map(|attempt| {
        let curl = attempt.request.as_ref().and_then(|request| curl(request, delivery.body.as_deref()));
        Shown { attempt, curl }
    });
    let attempts = attempts.collect();
    let note = if query.get("done") == Some("retried") { RETRIED } else { "" };
    page(&DeliveryPage {
        frame: Frame::of(&visitor, "Delivery", "/deliveries").with_note(note),
        formatted: delivery.body.as_deref().map(parts::indented),
        delivery,
        attempts,
    })
}

/// `POST /deliveries/{id}/retry`.
pub async fn retry(state: AppState, visitor: Visitor, path: web::Path<String>, _form: Form) -> HandlerResult {
    let found: One<Delivery> = read(deliveries::retry(state, visitor.caller(), path).await).await?;
    Ok(go_to(&format!("/deliveries/{}?done=retried", found.data.id)))
}

/// The request as a command of a shell, if its body is known as it was sent.
fn curl(request: &Request, body: Option<&str>) -> Option<String> {
    let body = body.filter(|_| request.body_sha256.is_empty())?;
    let mut command = format!("curl -X {} {}", request.method, quoted(&request.url));
    for (name, value) in parts::pairs(&request.headers) {
        // Writing to a string cannot fail.
        let _ = write!(command, " \\\n  -H {}", quoted(&format!("{name}: {value}")));
    }
    let _ = write!(command, " \\\n  --data-binary {}", quoted(body));
    Some(command)
}

/// A word of a shell's command, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_takes_a_quoted_text_as_it_is() {
        for text in ["", "a b", "it's", "$(id) `id` \"\\\n", "'''", "ż"] {
            let output = Command::new("sh").args(["-c", &format!("printf %s {}", quoted(text))]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
