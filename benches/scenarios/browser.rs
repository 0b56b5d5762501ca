//! Somebody who has signed in to the dashboard: pages with the time that they take and their size, and live views.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use ureq::Agent;
use ureq::http::Response;

use crate::Result;

/// A session of a key.
pub struct Browser {
    agent: Agent,
    addr: SocketAddr,
    cookie: String,
}

const SIGN_IN: &str = "/sign-in";

fn fields(token: &str, key: &str) -> String {
    format!("form_token={token}&key={key}")
}

/// The form that signs in, which can be sent again and again.
pub struct Form {
    browser: Browser,
    token: String,
}

impl Form {
    /// Opens its page.
    pub fn at(addr: SocketAddr) -> Result<Self> {
        let (browser, token) = Browser::at_the_form(addr)?;
        Ok(Self { browser, token })
    }

    /// The bytes of the request with a key filled in.
    pub fn with(&self, key: &str) -> Vec<u8> {
        let (Browser { addr, cookie, .. }, body) = (&self.browser, fields(&self.token, key));
        format!(
            "POST {SIGN_IN} HTTP/1.1\r\nHost: {addr}\r\nCookie: {cookie}\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// A page as it came.
pub struct Page {
    /// From the request to the last byte.
    pub took_us: u64,
    /// Its HTML.
    pub text: String,
}

impl Browser {
    /// Signs in.
    pub fn sign_in(addr: SocketAddr, key: &str) -> Result<Self> {
        let (mut browser, token) = Self::at_the_form(addr)?;
        let answer = browser
            .agent
            .post(browser.url(SIGN_IN))
            .header("Cookie", &browser.cookie)
            .content_type("application/x-www-form-urlencoded")
            .send(fields(&token, key))?;
        if answer.status() != 303 {
            return Err(format!("signing in was answered {}", answer.status()).into());
        }
        browser.keep_cookie(&answer)?;
        Ok(browser)
    }

    /// Opens the page to sign in; gives the token of its form as well.
    fn at_the_form(addr: SocketAddr) -> Result<(Self, String)> {
        let agent =
            Agent::config_builder().http_status_as_error(false).proxy(None).max_redirects(0).build().new_agent();
        let mut browser = Self { agent, addr, cookie: String::new() };
        let mut form = browser.agent.get(browser.url(SIGN_IN)).call()?;
        browser.keep_cookie(&form)?;
        let html = form.body_mut().read_to_string()?;
        let token = between(&html, "name=\"form_token\" value=\"", "\"").ok_or("no form to sign in")?;
        Ok((browser, token.to_owned()))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    fn keep_cookie(&mut self, answer: &Response<ureq::Body>) -> Result<()> {
        let given = answer.headers().get("set-cookie").ok_or("no cookie")?.to_str()?;
        given.split(';').next().unwrap_or_default().clone_into(&mut self.cookie);
        Ok(())
    }

    /// A page, which has to be there.
    pub fn page(&self, path: &str) -> Result<Page> {
        let began = Instant::now();
        let mut answer = self.agent.get(self.url(path)).header("Cookie", &self.cookie).call()?;
        let text = answer.body_mut().read_to_string()?;
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        if answer.status() == 200 {
            Ok(Page { took_us, text })
        } else {
            Err(format!("{path}: {}", answer.status()).into())
        }
    }

    /// A live view of deliveries, whose rows are read and thrown away until it is dropped.
    pub fn live_view(&self) -> Result<LiveView> {
        let mut stream = TcpStream::connect(self.addr)?;
        let (addr, cookie) = (self.addr, &self.cookie);
        write!(stream, "GET /deliveries/live HTTP/1.1\r\nHost: {addr}\r\nCookie: {cookie}\r\n\r\n")?;
        let mut rows = stream.try_clone()?;
        std::thread::spawn(move || io::copy(&mut rows, &mut io::sink()));
        Ok(LiveView(stream))
    }
}

/// A live view that is open.
pub struct LiveView(TcpStream);

impl Drop for LiveView {
    fn drop(&mut self) {
        // It fails only for a view that the server has ended already, which is what is wanted.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// What is between two texts, the first time that they come.
pub fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}
