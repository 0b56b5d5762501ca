//! Signing in with an API key or by the operator's link, and signing out. Whoever signs in gets a new token, so a token
//! that somebody else has planted is worth nothing. Runs on the HTTP workers.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::SET_COOKIE;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, web};
use askama::Template;

use crate::domain::AccountId;
use crate::domain::access::{Holder, KeyHash, Session, SessionId, is_key_shaped};
use crate::domain::audit::Actor;
use crate::http::dashboard::cookie::{self, Token, is_token};
use crate::http::dashboard::form::Form;
use crate::http::dashboard::frame::{Frame, go_to, page, page_with};
use crate::http::dashboard::guard::SIGN_IN_PATH;
use crate::http::dashboard::links::{Invitation, VALID_FOR};
use crate::http::dashboard::theme::Theme;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Query, source};
use crate::http::request::state::HttpState;
use crate::http::transport::source_of;
use crate::storage::command::Command;

type AppState = web::Data<HttpState>;
type HandlerResult = Result<HttpResponse, ApiError>;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    frame: Frame,
    /// The page to show afterwards.
    next: &'a str,
    problem: &'a str,
}

#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage<'a> {
    frame: Frame,
    link: &'a str,
    problem: &'a str,
}

const WRONG_KEY: &str =
    "This API key cannot be used here. It is unknown, revoked, expired, or not allowed from your address.";
const WRONG_LINK: &str = "This link is no longer valid: it works once, and for five minutes. Create another one with: tempclock-webhooks dashboard";

/// Where the operator's links lead.
pub const LINK_PATH: &str = "/sign-in/link";

/// The visitor's token, whether they have signed in or not.
impl FromRequest for Token {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let found = request.extensions().get::<Self>().cloned();
        std::future::ready(found.ok_or_else(|| ApiError::internal(&"a page without its guard")))
    }
}

/// `GET /sign-in`.
pub async fn show(state: AppState, request: HttpRequest, token: Token, query: Query) -> HandlerResult {
    let next = local(query.get("next").unwrap_or_default());
    if Visitor::find(&state, &request, &token).is_some() {
        return Ok(go_to(next));
    }
    page(&SignInPage { frame: frame(&token, Theme::of(&request)), next, problem: "" })
}

fn frame(token: &Token, theme: Theme) -> Frame {
    Frame::outside("Sign in", token.form_token().text()).with_theme(theme)
}

/// `POST /sign-in`.
pub async fn sign_in(state: AppState, request: HttpRequest, token: Token, form: Form) -> HandlerResult {
    let next = local(form.text("next"));
    let given = form.text("key");
    let now = state.clock.wall();
    let registry = state.reader.registry();
    let known = registry.usable_key(&KeyHash::of(given), now, source(&request)).filter(|_| is_key_shaped(given));
    let Some(key) = known else {
        count_guess(&state, &request)?;
        let page = SignInPage { frame: frame(&token, Theme::of(&request)), next, problem: WRONG_KEY };
        return page_with(HttpResponse::build(StatusCode::FORBIDDEN), &page);
    };
    if key.is_use_news(now) {
        state.writer.record_key_use(key.id);
    }
    let cookie = open_session(&state, &token, key.account, Holder::Key(key.id)).await?;
    log::info!("key {} ({}) signed in to the dashboard", key.id, key.prefix);
    with_cookie(&state, go_to(next), &cookie)
}

/// Counts a wrong key or link as the API counts wrong keys.
fn count_guess(state: &HttpState, request: &HttpRequest) -> Result<(), ApiError> {
    let Some(source) = source(request) else { return Ok(()) };
    let limit = state.guesses.limit();
    state.guesses.count(source_of(source)).map(drop).map_err(|wait_s| ApiError::too_many_guesses(limit, wait_s))
}

/// Stores a session with a new token, and ends the one that this browser had. Gives the token.
async fn open_session(state: &AppState, before: &Token, account: AccountId, holder: Holder) -> Result<Token, ApiError> {
    let token = Token::random()?;
    let session = Box::new(Session { id: token.id(), account, holder, last_used_at: state.clock.wall() });
    close_session(state, before.id()).await?;
    state.ask(|reply| Command::OpenSession { session, reply }).await?;
    Ok(token)
}

fn with_cookie(state: &HttpState, mut response: HttpResponse, token: &Token) -> HandlerResult {
    response.headers_mut().insert(SET_COOKIE, token.to_header(&state.dashboard.settings)?);
    Ok(response)
}

async fn close_session(state: &AppState, id: SessionId) -> Result<(), ApiError> {
    if state.reader.registry().session(id).is_some() {
        state.ask(|reply| Command::CloseSession { id, reply }).await?;
    }
    Ok(())
}

/// A link that signs this operator in, and for how long it is valid.
pub fn make_link(state: &HttpState, account: AccountId, actor: Actor) -> Result<(String, Duration), ApiError> {
    let dashboard = &state.dashboard;
    let Actor::Operator { user } = actor else { return Err(ApiError::internal(&"a link for somebody with a key")) };
    if !dashboard.settings.is_served {
        return Err(ApiError::invalid_field("server.dashboard", "is false, so the server shows no pages"));
    }
    let token = Token::random()?;
    log::info!("a link to sign in to the dashboard was created for {user}");
    dashboard.links.add(token.id(), Invitation { account, user });
    Ok((dashboard.settings.link(&format!("{LINK_PATH}?link={}", token.expose())), VALID_FOR))
}

/// `GET /sign-in/link`: asks before it signs in, so that whoever looks at a link beforehand does not use it up.
pub async fn show_link(request: HttpRequest, token: Token, query: Query) -> HandlerResult {
    let link = query.get("link").filter(|text| is_token(text)).unwrap_or_default();
    page(&LinkPage {
        frame: frame(&token, Theme::of(&request)),
        link,
        problem: if link.is_empty() { WRONG_LINK } else { "" },
    })
}

/// `POST /sign-in/link`.
pub async fn follow_link(state: AppState, request: HttpRequest, token: Token, form: Form) -> HandlerResult {
    let Some(invitation) = state.dashboard.links.take(SessionId::of(form.text("link"))) else {
        count_guess(&state, &request)?;
        let page = LinkPage { frame: frame(&token, Theme::of(&request)), link: "", problem: WRONG_LINK };
        return page_with(HttpResponse::build(StatusCode::FORBIDDEN), &page);
    };
    log::info!("{} signed in to the dashboard by a link", invitation.user);
    let holder = Holder::Operator { user: invitation.user };
    let cookie = open_session(&state, &token, invitation.account, holder).await?;
    with_cookie(&state, go_to("/"), &cookie)
}

/// `POST /sign-out`.
pub async fn sign_out(state: AppState, visitor: Visitor, _form: Form) -> HandlerResult {
    close_session(&state, visitor.session).await?;
    let mut response = go_to(SIGN_IN_PATH);
    response.headers_mut().insert(SET_COOKIE, cookie::removal(&state.dashboard.settings)?);
    Ok(response)
}

/// A page of ours to go to, or the first one: nothing that a browser could take for another site.
fn local(next: &str) -> &str {
    let is_plain = next.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'\\');
    let is_path = next.starts_with('/') && !next.starts_with("//");
    if is_plain && is_path && !next.starts_with(SIGN_IN_PATH) { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site_after_signing_in() {
        for path in ["/", "/deliveries?status=exhausted&subscription=1", "/deliveries/dlv_1%2F"] {
            assert_eq!(local(path), path);
        }
        for elsewhere in [
            "",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "deliveries",
            "/a\r\nb",
            "/ä",
            "/sign-in",
        ] {
            assert_eq!(local(elsewhere), "/", "{elsewhere}");
        }
    }
}
