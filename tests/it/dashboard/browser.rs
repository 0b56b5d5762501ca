//! A browser as far as HTTP goes: it keeps the cookies, sends forms with the token of their page, and follows nothing.

use std::net::SocketAddr;

use crate::harness::{Answer, Client, Server};

/// A browser with one tab.
pub struct Browser {
    client: Client,
    address: SocketAddr,
    /// `name=value`.
    pub cookie: Option<String>,
    /// The same of the colours that were chosen.
    theme: Option<String>,
}

impl Browser {
    pub fn new(server: &Server) -> Self {
        Self { client: Client::elsewhere(server.address()), address: server.address(), cookie: None, theme: None }
    }

    /// A browser that has signed in with a key.
    #[track_caller]
    pub fn signed_in(server: &Server, key: &str) -> Self {
        let mut browser = Self::new(server);
        let answer = browser.sign_in(key);
        assert_eq!((answer.status, answer.header("location")), (303, Some("/")), "{}", answer.text);
        browser
    }

    #[track_caller]
    pub fn sign_in(&mut self, key: &str) -> Answer {
        self.submit("/sign-in", "/sign-in", &[("key", key)])
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    /// A page that is there.
    #[track_caller]
    pub fn page(&mut self, path: &str) -> String {
        self.get(path).expect(200).text
    }

    /// Opens a page and sends one of its forms.
    #[track_caller]
    pub fn submit(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Answer {
        let token = form_token(&self.page(page));
        let fields = [fields, &[("form_token", &token)]].concat();
        let origin = format!("http://{}", self.address);
        self.post(action, &[("Origin", &origin), ("Sec-Fetch-Site", "same-origin")], &fields)
    }

    /// Sends a form with these headers and nothing else.
    #[track_caller]
    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
        let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        self.send("POST", path, &[&form, headers].concat(), Some(body.as_bytes()))
    }

    #[track_caller]
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
        let kept: Vec<&str> = [&self.theme, &self.cookie].into_iter().filter_map(|cookie| cookie.as_deref()).collect();
        let cookies = kept.join("; ");
        let mut all = headers.to_vec();
        all.extend((!cookies.is_empty()).then_some(("Cookie", cookies.as_str())));
        let answer = self.client.send(method, path, &all, body);
        if let Some(given) = answer.header("set-cookie") {
            let pair = given.split(';').next().unwrap();
            if pair.starts_with("tempclock_theme=") {
                self.theme = Some(pair.to_owned());
                return answer;
            }
            self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
        }
        answer
    }
}

/// A secret that a page shows once.
#[track_caller]
pub fn shown_once(page: &str) -> String {
    let (_, rest) = page.split_once("<pre id=\"secret\"").unwrap_or_else(|| panic!("no secret in {page}"));
    rest.split_once('>').unwrap().1.split_once('<').unwrap().0.to_owned()
}

/// The token of a page's forms.
#[track_caller]
pub fn form_token(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"form_token\" value=\"").unwrap_or_else(|| panic!("no form in {page}"));
    rest.split('"').next().unwrap().to_owned()
}
