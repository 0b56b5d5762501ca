//! Who looks at a page: a session's holder, with the rights of an API key or of the operator. Runs on the HTTP workers.

use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};

use crate::domain::access::{ApiKey, Holder, Scope, Scopes, Session, SessionId};
use crate::domain::audit::{Actor, Origin};
use crate::domain::{AccountId, Timestamp};
use crate::http::dashboard::cookie::{FormToken, Token};
use crate::http::dashboard::theme::Theme;
use crate::http::request::error::ApiError;
use crate::http::request::extract::{self, Caller};
use crate::http::request::state::HttpState;

/// A visitor who has signed in. `guard` puts it into the request.
#[derive(Clone)]
pub struct Visitor {
    account: AccountId,
    key: Option<Arc<ApiKey>>,
    origin: Origin,
    /// The session.
    pub session: SessionId,
    /// What forms send along.
    pub form_token: FormToken,
    /// Who it is, in words.
    pub name: String,
    /// The account's name.
    pub account_name: String,
    /// Which colours they have chosen.
    pub theme: Theme,
}

impl Visitor {
    /// The visitor whose session this token belongs to, if the session can be used now from that address.
    #[must_use]
    pub fn find(state: &HttpState, request: &HttpRequest, token: &Token) -> Option<Self> {
        let now = state.clock.wall();
        let registry = state.reader.registry();
        let (session, key) = registry.signed_in(token.id(), now, extract::source(request))?;
        note_use(state, session, key, now);
        let (actor, name) = match (key, &session.holder) {
            (Some(key), _) => {
                (Actor::Key { id: key.id, prefix: key.prefix.clone() }, format!("{} ({})", key.name, key.prefix))
            }
            (None, Holder::Operator { user }) => {
                (Actor::Operator { user: user.clone() }, format!("{user}, the operator"))
            }
            (None, Holder::Key(_)) => return None,
        };
        Some(Self {
            account: session.account,
            key: key.cloned(),
            origin: extract::origin(request, actor),
            session: session.id,
            form_token: token.form_token(),
            name,
            account_name: registry.account_name(session.account).to_owned(),
            theme: Theme::of(request),
        })
    }

    /// The same as a caller of the API.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::of_session(self.account, self.key.clone(), self.origin.clone())
    }

    /// The account whose pages are shown.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Whether the session can still be used, for what lasts longer than a page.
    #[must_use]
    pub fn is_signed_in(&self, state: &HttpState) -> bool {
        state.reader.registry().signed_in(self.session, state.clock.wall(), self.origin.source).is_some()
    }

    /// Whether the API would let them.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.key.as_ref().map_or(Scopes::OPERATOR, |key| key.scopes).contains(scope)
    }

    /// Whether they run the server, and may see what concerns it as a whole.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.key.is_none()
    }
}

/// Queues that session and key are used, if that is worth a row.
fn note_use(state: &HttpState, session: &Session, key: Option<&Arc<ApiKey>>, now: Timestamp) {
    if session.is_use_news(now) {
        state.writer.record_session_use(session.id);
    }
    if let Some(key) = key.filter(|key| key.is_use_news(now)) {
        state.writer.record_key_use(key.id);
    }
}

impl FromRequest for Visitor {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = request.extensions().get::<Self>().cloned();
        std::future::ready(found.ok_or_else(|| ApiError::internal(&"a page without its guard")))
    }
}
