//! `/jobs`: work on many deliveries, how far it has come, and how to stop it. Runs on the HTTP workers.

use actix_web::{HttpResponse, web};
use askama::Template;

use crate::http::api::jobs;
use crate::http::dashboard::answers::{Job, List, One, read};
use crate::http::dashboard::form::Form;
use crate::http::dashboard::frame::{Frame, go_to, page};
use crate::http::dashboard::parts;
use crate::http::dashboard::visitor::Visitor;
use crate::http::request::error::ApiError;
use crate::http::request::extract::Query;
use crate::http::request::state::HttpState;

type AppState = web::Data<HttpState>;
type HandlerResult = Result<HttpResponse, ApiError>;

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    frame: Frame,
    jobs: Vec<Job>,
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    job: Job,
    is_going_on: bool,
}

/// `GET /jobs`.
pub async fn list(state: AppState, visitor: Visitor, query: Query) -> HandlerResult {
    let found: List<Job> = read(jobs::list(state, visitor.caller(), query).await).await?;
    page(&JobsPage { frame: Frame::of(&visitor, "Jobs", "/jobs"), jobs: found.data })
}

/// `GET /jobs/{id}`.
pub async fn show(state: AppState, visitor: Visitor, path: web::Path<String>) -> HandlerResult {
    let found: One<Job> = read(jobs::read(state, visitor.caller(), path).await).await?;
    let is_going_on = found.data.finished_at.is_none();
    page(&JobPage { frame: Frame::of(&visitor, "Job", "/jobs"), job: found.data, is_going_on })
}

/// `POST /jobs/{id}/stop`.
pub async fn stop(state: AppState, visitor: Visitor, path: web::Path<String>, _form: Form) -> HandlerResult {
    let found: One<Job> = read(jobs::stop(state, visitor.caller(), path).await).await?;
    Ok(go_to(&format!("/jobs/{}", found.data.id)))
}
