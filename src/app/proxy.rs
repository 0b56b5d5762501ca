//! The operator's proxy, from the configuration and the file with its login. The file is read on the main thread or the
//! signals thread.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::app::error::StartError;
use crate::config::{Config, Direct};
use crate::delivery::send::proxy::{Proxy, ProxyAddress};
use crate::domain::secret_text::SecretText;

/// The key of the file.
const CREDENTIALS: &str = "delivery.proxy_credentials_file";
/// The longest login.
const LOGIN_BYTES: usize = 1024;

/// The proxy, if there is one.
pub fn proxy(config: &Config) -> Result<Option<Arc<Proxy>>, StartError> {
    let delivery = &config.delivery;
    let Some((host, port)) = delivery.proxy.clone() else { return Ok(None) };
    let mut address = ProxyAddress { host, port, ..ProxyAddress::default() };
    for direct in &delivery.no_proxy {
        match direct {
            Direct::Host(host) => address.direct_hosts.push(host.clone()),
            Direct::Network(network) => address.direct_networks.push(*network),
        }
    }
    Ok(Some(Arc::new(Proxy::new(address, login(config)?.as_ref()))))
}

/// The proxy's login, if it has one.
pub(super) fn login(config: &Config) -> Result<Option<SecretText>, StartError> {
    let Some(path) = &config.delivery.proxy_credentials_file else { return Ok(None) };
    // The path is not shown: the setting may hold the login itself.
    let failed = |reason: String| StartError::SecretFile { key: CREDENTIALS, reason };
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(failed("it is not a regular file".to_owned()));
    }
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| failed(error.to_string()))?;
    let login = text.trim_end_matches(['\r', '\n']);
    // A password may have a colon, a user name not.
    let is_login = login.split_once(':').is_some_and(|(user, _)| !user.is_empty())
        && login.len() <= LOGIN_BYTES
        && !login.chars().any(char::is_control);
    if !is_login {
        return Err(failed("it does not contain user:password on one line".to_owned()));
    }
    Ok(Some(SecretText::new(login)))
}
