//! Why there is no access token for an attempt, and what to do about it. Pure; any thread.

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// The token URL did not answer; the text says why.
    Unreachable(String),
    /// It answered with this status, and with an error code if it gave a valid one.
    Refused(u16, Option<String>),
    /// What it answered, or how, cannot be used; the text says why, and may say after a semicolon what to do.
    Unusable(String),
    /// Another attempt was still waiting for one.
    Awaited,
}

impl TokenFault {
    /// The cause, a semicolon, and what to do about it.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Unreachable(text) => format!(
                "no access token, because the token URL cannot be reached ({text}); check auth.token_url, and that the token \
                 server runs"
            ),
            Self::Refused(status, Some(code)) => {
                format!(
                    "no access token, because the token server refused the client ({code}, status {status}); {}",
                    for_code(code)
                )
            }
            Self::Refused(status @ 300..400, None) => format!(
                "no access token, because the token URL answered {status}, a redirect, which is not followed; set auth.token_url to the final address, which often differs only in a slash at the end"
            ),
            Self::Refused(status @ (404 | 405), None) => {
                format!("no access token, because the token URL answered {status}; check auth.token_url")
            }
            Self::Refused(status @ (400 | 401 | 403), None) => format!(
                "no access token, because the token server refused the client (status {status}); {}",
                for_code("invalid_client")
            ),
            Self::Refused(status, None) => {
                format!("no access token, because the token URL answered {status}; check the token server's log")
            }
            Self::Unusable(text) => {
                let advice = if text.contains("; ") { "" } else { "; check auth.token_url, and the token server" };
                format!("no access token: {text}{advice}")
            }
            Self::Awaited => "no access token yet, because another attempt was still waiting for one; this does not count against the retry schedule: if it persists, check why the token server is slow"
                .to_owned(),
        }
    }
}

/// What to do about an error code of RFC 6749 or of the usual token servers.
fn for_code(code: &str) -> &'static str {
    match code {
        "invalid_client" => {
            "check auth.client_id and auth.client_secret. If the secret has special characters such as %, + or a space, \
             try \"client_authentication\": \"body\""
        }
        "unauthorized_client" | "unsupported_grant_type" => {
            "allow this client the grant client_credentials on the token server"
        }
        "invalid_scope" => "check auth.scope",
        "invalid_target" => "check auth.audience",
        _ => "check the token server's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_one_cause_and_advice() {
        let code = |code: &str| TokenFault::Refused(401, Some(code.to_owned()));
        let all = [
            TokenFault::Unreachable("connection refused".to_owned()),
            code("invalid_client"),
            code("invalid_scope"),
            code("invalid_target"),
            code("unauthorized_client"),
            code("something_else"),
            TokenFault::Refused(301, None),
            TokenFault::Refused(404, None),
            TokenFault::Refused(401, None),
            TokenFault::Refused(503, None),
            TokenFault::Unusable("its answer has no token".to_owned()),
            TokenFault::Unusable("its certificate has expired; renew it".to_owned()),
            TokenFault::Awaited,
        ];
        let words: std::collections::BTreeSet<String> = all.iter().map(TokenFault::in_words).collect();
        assert_eq!(words.len(), all.len());
        for words in words {
            assert_eq!(words.matches("; ").count(), 1, "{words}");
            assert!(words.starts_with("no access token"), "{words}");
        }
    }
}
