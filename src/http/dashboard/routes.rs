//! Every route of the dashboard. Those of the API are in `openapi/routes.rs`; nothing else is served. Pure.

use actix_web::dev::HttpServiceFactory;
use actix_web::middleware::from_fn;
use actix_web::{Resource, Route, web};

use crate::http::dashboard::pages::{deliveries, delivery, jobs, overview};
use crate::http::dashboard::{assets, guard, sign_in};

/// Registers the routes. If two paths match a request, the first wins.
pub fn serve(config: &mut web::ServiceConfig) {
    config
        .service(web::resource(assets::STYLE_PATH).route(web::get().to(assets::style)))
        .service(web::resource(assets::SCRIPT_PATH).route(web::get().to(assets::script)))
        .service(web::resource(assets::ICON_PATH).route(web::get().to(assets::icon)))
        .service(open(guard::SIGN_IN_PATH, [web::get().to(sign_in::show), web::post().to(sign_in::sign_in)]))
        .service(open(sign_in::LINK_PATH, [web::get().to(sign_in::show_link), web::post().to(sign_in::follow_link)]))
        .service(page("/sign-out", [web::post().to(sign_in::sign_out)]))
        .service(page("/", [web::get().to(overview::show)]))
        .service(page("/deliveries", [web::get().to(deliveries::list)]))
        .service(page(
            "/deliveries/retry",
            [web::get().to(deliveries::ask_to_retry), web::post().to(deliveries::retry)],
        ))
        .service(page("/deliveries/{id}", [web::get().to(delivery::show)]))
        .service(page("/deliveries/{id}/retry", [web::post().to(delivery::retry)]))
        .service(page("/jobs", [web::get().to(jobs::list)]))
        .service(page("/jobs/{id}", [web::get().to(jobs::show)]))
        .service(page("/jobs/{id}/stop", [web::post().to(jobs::stop)]));
}

/// A page for those who have signed in.
fn page<const N: usize>(path: &str, routes: [Route; N]) -> impl HttpServiceFactory + 'static {
    resource(path, routes).wrap(from_fn(guard::signed_in))
}

/// A page for everybody.
fn open<const N: usize>(path: &str, routes: [Route; N]) -> impl HttpServiceFactory + 'static {
    resource(path, routes).wrap(from_fn(guard::open))
}

fn resource<const N: usize>(path: &str, routes: [Route; N]) -> Resource {
    routes.into_iter().fold(web::resource(path), Resource::route)
}
