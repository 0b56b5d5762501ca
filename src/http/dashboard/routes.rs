//! Every route of the dashboard. Those of the API are in `openapi/routes.rs`; nothing else is served. Pure.

use actix_web::dev::HttpServiceFactory;
use actix_web::middleware::from_fn;
use actix_web::{Resource, Route, web};

use crate::http::dashboard::pages::{
    audit, deliveries, delivery, events, jobs, keys, live, overview, replay, subscription_form, subscriptions, system,
    verify, worker,
};
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
        .service(page("/deliveries/live", [web::get().to(live::stream)]))
        .service(page("/deliveries/{id}", [web::get().to(delivery::show)]))
        .service(page("/deliveries/{id}/retry", [web::post().to(delivery::retry)]))
        .service(page("/jobs", [web::get().to(jobs::list)]))
        .service(page("/jobs/{id}", [web::get().to(jobs::show)]))
        .service(page("/jobs/{id}/stop", [web::post().to(jobs::stop)]))
        .service(page("/events", [web::get().to(events::list)]))
        .service(page("/events/{id}", [web::get().to(events::show)]))
        .service(page("/evidence", [web::get().to(worker::evidence)]))
        .service(page("/erasures", [web::get().to(worker::ask_to_erase), web::post().to(worker::erase)]))
        .service(page("/event-types", [web::get().to(events::types)]))
        .service(page("/keys", [web::get().to(keys::list), web::post().to(keys::create)]))
        .service(page("/keys/{id}/rotate", [web::post().to(keys::rotate)]))
        .service(page("/keys/{id}/revoke", [web::post().to(keys::revoke)]))
        .service(page("/audit", [web::get().to(audit::list)]))
        .service(page("/system", [web::get().to(system::show)]))
        .service(page("/theme", [web::post().to(system::choose_theme)]))
        .configure(serve_subscriptions);
}

fn serve_subscriptions(config: &mut web::ServiceConfig) {
    config
        .service(page("/subscriptions", [web::get().to(subscriptions::list)]))
        .service(page(
            "/subscriptions/new",
            [web::get().to(subscription_form::new), web::post().to(subscription_form::create)],
        ))
        .service(page("/subscriptions/{id}", [web::get().to(subscriptions::show)]))
        .service(page(
            "/subscriptions/{id}/edit",
            [web::get().to(subscription_form::edit), web::post().to(subscription_form::update)],
        ))
        .service(page("/subscriptions/{id}/active", [web::post().to(subscriptions::set_active)]))
        .service(page("/subscriptions/{id}/test", [web::post().to(subscriptions::test)]))
        .service(page(
            "/subscriptions/{id}/rotate",
            [web::get().to(subscriptions::ask_to_rotate), web::post().to(subscriptions::rotate)],
        ))
        .service(page("/subscriptions/{id}/verify", [web::get().to(verify::show)]))
        .service(page("/subscriptions/{id}/replay", [web::get().to(replay::ask), web::post().to(replay::replay)]))
        .service(page(
            "/subscriptions/{id}/delete",
            [web::get().to(subscriptions::ask_to_delete), web::post().to(subscriptions::delete)],
        ));
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
