//! The option `client_certificate`: which certificate of the operator's is shown to the endpoint, and who may use it for
//! where. Pure; any thread.

use std::sync::Arc;

use serde_json::Value;

use crate::domain::FieldError;
use crate::domain::endpoint::Endpoint;

/// The most characters of a name.
pub const NAME_CHARS: usize = 64;
const FIELD: &str = "client_certificate";

/// Who may use a client certificate, and for where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateUse {
    /// The name that subscriptions give.
    pub name: String,
    /// The names of the accounts.
    pub accounts: Vec<String>,
    /// The hosts that it may be shown to: names in lower case, or addresses.
    pub hosts: Vec<String>,
}

impl CertificateUse {
    /// Whether it may be shown to the host of a URL for an account.
    #[must_use]
    pub fn is_for(&self, account: &str, endpoint: &Endpoint) -> bool {
        self.is_of(account) && endpoint.is_https() && self.has_host(endpoint.host())
    }

    fn is_of(&self, account: &str) -> bool {
        self.accounts.iter().any(|allowed| allowed == account)
    }

    /// Whether it is for that host.
    #[must_use]
    pub fn has_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

/// Whether a text can be the name of a certificate.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=NAME_CHARS).contains(&text.len()) && text.bytes().all(is_letter)
}

/// Reads the option.
pub fn read(value: &Value) -> Result<Arc<str>, Vec<FieldError>> {
    let name = value.as_str().filter(|name| is_name(name));
    name.map(Arc::from).ok_or_else(|| {
        let message = "must be the name of a client certificate that the operator has declared, or null for none";
        vec![FieldError::new(FIELD, message)]
    })
}

/// Why an account may not use the certificate of that name for a URL, if it may not.
#[must_use]
pub fn fault(name: &str, account: &str, endpoint: &Endpoint, all: &[CertificateUse]) -> Option<FieldError> {
    let Some(used) = all.iter().find(|used| used.name == name && used.is_of(account)) else {
        let message = "is not a client certificate that this account may use; the operator declares them in [[delivery.client_certificate]]";
        return Some(FieldError::new(FIELD, message));
    };
    if !endpoint.is_https() {
        return Some(FieldError::new(FIELD, "needs a url that begins with https://"));
    }
    (!used.has_host(endpoint.host())).then(|| {
        let hosts = used.hosts.join(", ");
        FieldError::new(FIELD, format!("may only be presented to {hosts}, and the url has another host"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_certificate_is_for_its_accounts_and_hosts_alone() {
        let used = CertificateUse {
            name: "payroll".to_owned(),
            accounts: vec!["north".to_owned()],
            hosts: vec!["payroll.example".to_owned(), "192.0.2.1".to_owned()],
        };
        let all = [used];
        let is_fine = |name: &str, account: &str, url: &str| {
            let endpoint = Endpoint::read(url).unwrap();
            let is_fine = fault(name, account, &endpoint, &all).is_none();
            assert_eq!(is_fine, all[0].name == name && all[0].is_for(account, &endpoint), "{name} {account} {url}");
            is_fine
        };
        assert!(is_fine("payroll", "north", "https://payroll.example/in"));
        assert!(is_fine("payroll", "north", "https://PAYROLL.example.:8443/in"));
        assert!(is_fine("payroll", "north", "https://192.0.2.1/in"));
        assert!(!is_fine("payroll", "south", "https://payroll.example/in"));
        assert!(!is_fine("other", "north", "https://payroll.example/in"));
        assert!(!is_fine("payroll", "north", "https://a.payroll.example/in"));
        assert!(!is_fine("payroll", "north", "http://payroll.example/in"));
    }

    #[test]
    fn only_a_name_is_taken() {
        assert_eq!(&*read(&json!("payroll-2.prod_x")).unwrap(), "payroll-2.prod_x");
        for wrong in [json!(""), json!("a b"), json!("../a"), json!(5), json!({}), json!("x".repeat(65))] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
