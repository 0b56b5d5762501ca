//! `dashboard`: a link that signs the operator in.

use crate::cli::{AccountArgs, DashboardArgs};
use crate::command::client::control_api::{ask, running};
use crate::command::client::reply::ApiReply;
use crate::command::console::output::{put, put_answer, say, text};
use crate::command::{Failure, Outcome};
use crate::control::client::Client;

pub fn run(DashboardArgs { account }: &DashboardArgs) -> Outcome {
    let AccountArgs { json, account: name, .. } = account;
    let answer = link(&Client::new(&running(account)?), name)?;
    if *json {
        return put_answer(&answer);
    }
    say("Open this link within five minutes; it signs in once:");
    put(&format!("{}\n", text(&answer["data"], "url")))
}

/// Asks the running server for a link.
pub fn link(client: &Client, account: &str) -> Result<ApiReply, Failure> {
    ask(client, "POST", "/control/sign-in-link", &[("account", account)], None)
}
