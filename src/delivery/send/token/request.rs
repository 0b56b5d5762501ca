//! Asks a token server for a token, as a delivery asks a receiver: by the same address rule, over the same connections, in
//! the time of the attempt that needs it. It follows no redirect. Runs on delivery threads.

use ureq::http::Uri;

use crate::delivery::send::classify;
use crate::delivery::send::connect::{Connections, Peer, Use};
use crate::delivery::send::connection::ConnectionError;
use crate::delivery::send::exchange::{Received, Request};
use crate::delivery::send::limit::Limit;
use crate::delivery::send::tls::clients::NamedClient;
use crate::delivery::send::token::answer::{self, Given, TOKEN_BYTES};
use crate::domain::delivery::attempt::VERSION;
use crate::domain::delivery::outcome::Outcome;
use crate::domain::delivery::token_fault::TokenFault;
use crate::domain::options::auth::oauth2::ClientCredentials;

/// Room for other fields beside the longest token.
const ANSWER_BYTES: usize = 4 * TOKEN_BYTES;

/// A new token, or why there is none.
pub(in crate::delivery) fn fetch(
    connections: &Connections,
    credentials: &ClientCredentials,
    certificate: Option<&NamedClient>,
    limit: &mut Limit,
) -> Result<Given, Outcome> {
    let uri: Uri = credentials
        .token_url
        .as_str()
        .parse()
        .map_err(|error| Outcome::Internal(format!("the token URL cannot be used: {error}")))?;
    let agent = format!("TempClock-Webhooks/{VERSION}");
    let authorization = credentials.authorization();
    let headers =
        [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json"), ("User-Agent", &agent)];
    let login = authorization.as_ref().map(|login| ("Authorization", login.expose()));
    let form = credentials.form();
    let request = Request::new(&uri, headers.into_iter().chain(login), form.as_bytes());
    let to = Peer { uri: &uri, certificate };
    let mut ask = |used| connections.ask(to, &request, used, ANSWER_BYTES, limit);
    let received = match ask(Use::Kept) {
        // Whoever closed it did not take the request.
        Err(error) if matches!(ConnectionError::of(&error), Some(ConnectionError::Unanswered(_))) => ask(Use::New),
        received => received,
    };
    let received = received.map_err(|error| of_failure(classify::outcome(&error, limit.phase())))?;
    let Received { head, body, cut } = &received;
    if cut.is_some() || body.len() >= ANSWER_BYTES {
        // A refusal counts as it is, however its body ends.
        let unusable = "the answer of the token URL did not end, or is longer than 32 KiB";
        return Err(Outcome::TokenFailed(match head.status {
            200..=299 => TokenFault::Unusable(unusable.to_owned()),
            status => TokenFault::Refused(status, None),
        }));
    }
    answer::read(head.status, body).map_err(Outcome::TokenFailed)
}

/// What a request for a token that got no answer means for the attempt.
fn of_failure(outcome: Outcome) -> Outcome {
    let fault = match outcome {
        Outcome::NameNotFound(host) => TokenFault::Unreachable(format!("the host name {host} was not found")),
        Outcome::NameServerFailed(host) => {
            TokenFault::Unreachable(format!("the name server failed or did not answer for the host name {host}"))
        }
        Outcome::ConnectFailed(text) | Outcome::ConnectionLost(text) | Outcome::KeptConnectionClosed(text) => {
            TokenFault::Unreachable(text)
        }
        Outcome::TimedOut(phase) => TokenFault::Unreachable(format!("timed out while {}", phase.doing())),
        Outcome::AddressNotAllowed(text) => TokenFault::Unusable(text),
        Outcome::TlsFailed(text) => TokenFault::Unusable(format!("no trusted TLS connection to the token URL: {text}")),
        Outcome::BadResponse(text) => {
            TokenFault::Unusable(format!("the answer of the token URL is not valid HTTP ({text})"))
        }
        Outcome::HeadersTooLong | Outcome::BadHead(..) => {
            TokenFault::Unusable("the head of the token URL's answer is too long, or not valid HTTP".to_owned())
        }
        // A fault of our own is told as such.
        own => return own,
    };
    Outcome::TokenFailed(fault)
}
