//! What every request to the dashboard goes through, around its handler: where it comes from, whose session it has, how
//! many pages that has asked for; then security headers, and errors as pages. Runs on the HTTP workers.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HOST, HeaderMap, LOCATION, ORIGIN, SET_COOKIE};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse};
use askama::Template;

use crate::domain::FieldError;
use crate::http::dashboard::cookie::Token;
use crate::http::dashboard::frame::{self, Frame, go_to};
use crate::http::dashboard::settings::DashboardSettings;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::{note_authenticated, request_id};
use crate::http::request::state::HttpState;

/// Where one signs in.
pub const SIGN_IN_PATH: &str = "/sign-in";

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: Frame,
    status: u16,
    message: &'a str,
    fields: &'a [FieldError],
    request_id: &'a str,
}

/// A page that loads itself again, once: a browser that comes from another site sends no cookie of ours before that.
#[derive(Template)]
#[template(path = "reload.html")]
struct ReloadPage<'a> {
    path: &'a str,
}

/// Around pages for those who have signed in; others are sent to sign in.
pub async fn signed_in<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let state = HttpState::of(request.request())?.clone();
    let settings = &state.dashboard.settings;
    let token = Token::of(request.request(), settings);
    let visitor = token.as_ref().and_then(|token| Visitor::find(&state, request.request(), token));
    let Some(visitor) = visitor else {
        let response = send_to_sign_in(request.request(), token.is_some());
        return finish(request.into_response(response), None).await;
    };
    note_authenticated(request.request());
    request.extensions_mut().insert(visitor.form_token.clone());
    request.extensions_mut().insert(visitor.clone());
    let is_allowed = check_origin(request.request(), settings).and_then(|()| {
        let pages = &state.dashboard.pages;
        pages.count(visitor.session).map(drop).map_err(|wait_s| ApiError::rate_limited(pages.limit(), wait_s))
    });
    let response = match is_allowed {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(error) => request.error_response(error),
    };
    finish(response, Some(&visitor)).await
}

/// Around pages for everybody. Their forms are protected by a token too, which comes with the first of them.
pub async fn open<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let state = HttpState::of(request.request())?.clone();
    let settings = &state.dashboard.settings;
    let known = Token::of(request.request(), settings);
    let is_new = known.is_none();
    let token = known.map_or_else(Token::random, Ok)?;
    request.extensions_mut().insert(token.form_token());
    request.extensions_mut().insert(token.clone());
    let mut response = match check_origin(request.request(), settings) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(error) => request.error_response(error),
    };
    if is_new && !response.headers().contains_key(SET_COOKIE) {
        response.headers_mut().insert(SET_COOKIE, token.to_header(settings)?);
    }
    finish(response, None).await
}

/// Refuses a change that another site's page has asked for. A request without these headers is none of a browser's.
fn check_origin(request: &HttpRequest, settings: &DashboardSettings) -> Result<(), ApiError> {
    if is_safe(request.method()) {
        return Ok(());
    }
    let headers = request.headers();
    let is_own = |origin: &str| settings.is_own(origin, text(headers, HOST.as_str()));
    let has_own_origin = !headers.contains_key(ORIGIN) || text(headers, ORIGIN.as_str()).is_some_and(is_own);
    let is_near = text(headers, "sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    if has_own_origin && is_near { Ok(()) } else { Err(ApiError::foreign_origin()) }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn send_to_sign_in(request: &HttpRequest, has_cookie: bool) -> HttpResponse {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if !is_safe(request.method()) {
        return go_to(SIGN_IN_PATH);
    }
    let is_cross_site = text(request.headers(), "sec-fetch-site") == Some("cross-site");
    if is_cross_site && !has_cookie {
        let reload = frame::page(&ReloadPage { path });
        return reload.unwrap_or_else(|_| go_to(SIGN_IN_PATH));
    }
    if path == "/" {
        return go_to(SIGN_IN_PATH);
    }
    let next: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
    go_to(&format!("{SIGN_IN_PATH}?next={next}"))
}

/// Turns an error into a page, and adds the security headers.
async fn finish(
    response: ServiceResponse<BoxBody>,
    visitor: Option<&Visitor>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = match response.response().error().map(ApiError::of_any) {
        Some(error) => {
            let id = request_id(response.request());
            if error.status() >= 500 {
                log::error!(request_id = id; "{} answered {}: {error}", response.request().path(), error.status());
            }
            if let Some(delay) = error.delay() {
                tokio::time::sleep(delay).await;
            }
            response.into_response(error_page(&error, &id, visitor)?)
        }
        None => response,
    };
    debug_assert!(is_local(response.headers()), "no page leads elsewhere");
    frame::protect(response.headers_mut());
    Ok(response)
}

fn is_local(headers: &HeaderMap) -> bool {
    text(headers, LOCATION.as_str()).is_none_or(|path| path.starts_with('/') && !path.starts_with("//"))
}

fn error_page(error: &ApiError, request_id: &str, visitor: Option<&Visitor>) -> Result<HttpResponse, ApiError> {
    let title = match error.status() {
        404 => "Not found",
        403 => "Not allowed",
        429 => "Too many requests",
        _ => "That did not work",
    };
    let frame = visitor.map_or_else(|| Frame::outside(title, ""), |visitor| Frame::of(visitor, title, ""));
    let page =
        ErrorPage { frame, status: error.status(), message: error.message(), fields: error.fields(), request_id };
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for header in error.headers() {
        response.insert_header(header);
    }
    frame::page_with(response, &page)
}
