//! A client of the HTTP API, for JSON and for requests that no library would send.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
};

use serde_json::{Value, json};
use ureq::{Agent, http::Request};

use super::{PATIENCE, Receiver, clock_in, contract, eventually};

/// A user of the API with one key, or without any.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    key: Option<String>,
    agent: Agent,
    /// Whether answers have to fit the API's description.
    is_of_api: bool,
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Method and path that were asked, for messages.
    pub asked: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
    /// `Null` when the body is not JSON.
    pub json: Value,
}

/// A subscription as its creation answered it.
#[derive(Debug, Clone)]
pub struct Subscription {
    pub id: i64,
    pub secret: String,
}

impl Client {
    pub fn new(address: SocketAddr, key: Option<&str>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(2 * PATIENCE))
            .build();
        Self { address, key: key.map(str::to_owned), agent: Agent::new_with_config(config), is_of_api: true }
    }

    /// A user of something else that speaks HTTP.
    pub fn elsewhere(address: SocketAddr) -> Self {
        Self { is_of_api: false, ..Self::new(address, None) }
    }

    /// What it talks to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request to the whole path, with further headers.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
        let answered = self.try_send(method, path, headers, body);
        answered.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends a request that the server may not live to answer. An answer has to fit the API's description.
    #[track_caller]
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let uri = format!("http://{}{path}", self.address);
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answered = match body {
            Some(body) => self.agent.run(request.body(body).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        }?;
        let bytes = answered.body_mut().with_config().limit(64 << 20).read_to_vec()?;
        let text = String::from_utf8(bytes).expect("an answer in UTF-8");
        let headers = answered
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let json = serde_json::from_str(&text).unwrap_or_default();
        let asked = format!("{method} {path}");
        let answer = Answer { asked, status: answered.status().as_u16(), headers, text, json };
        if self.is_of_api {
            contract::check(method, path, &answer);
        }
        Ok(answer)
    }

    /// `GET` below `/api/v1`.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", &format!("/api/v1{path}"), &[], None)
    }

    /// `DELETE` below `/api/v1`.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", &format!("/api/v1{path}"), &[], None)
    }

    /// `POST` of JSON below `/api/v1`.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string())
    }

    /// `POST` of exactly this JSON text below `/api/v1`.
    #[track_caller]
    pub fn post_text(&self, path: &str, body: &str) -> Answer {
        self.post_with(path, &[], body)
    }

    /// `POST` of JSON text with further headers below `/api/v1`.
    #[track_caller]
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend_from_slice(headers);
        self.send("POST", &format!("/api/v1{path}"), &all, Some(body.as_bytes()))
    }

    /// `POST` without a body below `/api/v1`.
    #[track_caller]
    pub fn post_nothing(&self, path: &str) -> Answer {
        self.send("POST", &format!("/api/v1{path}"), &[], None)
    }

    /// `PUT` of JSON below `/api/v1`.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        let headers = [("Content-Type", "application/json")];
        self.send("PUT", &format!("/api/v1{path}"), &headers, Some(body.to_string().as_bytes()))
    }

    /// Subscribes the URL to the event types.
    #[track_caller]
    pub fn subscribe(&self, url: &str, events: &[&str]) -> Subscription {
        let answer = self.post("/webhooks", &json!({"url": url, "events": events})).expect(201);
        Subscription {
            id: answer.data()["id"].as_i64().expect("an integer id"),
            secret: answer.data()["secret"].as_str().expect("a secret").to_owned(),
        }
    }

    /// Publishes one event and gives its id.
    #[track_caller]
    pub fn publish(&self, event: &str, data: &Value) -> String {
        let answer = self.post("/events", &json!({"event": event, "data": data})).expect(202);
        answer.data()["id"].as_str().expect("an event id").to_owned()
    }

    /// Publishes one `clock_in`, or several in a batch, each with an idempotency key made of its entry, to a server
    /// that may not live to answer.
    pub fn try_publish(&self, entries: &[u64]) -> Result<Answer, ureq::Error> {
        let key = |entry: u64| format!("entry-{entry}");
        let json = ("Content-Type", "application/json");
        if let [entry] = entries {
            let body = json!({"event": "clock_in", "data": clock_in(*entry)}).to_string();
            let headers = [json, ("Idempotency-Key", &key(*entry))];
            return self.try_send("POST", "/api/v1/events", &headers, Some(body.as_bytes()));
        }
        let event = |entry: &u64| json!({"event": "clock_in", "data": clock_in(*entry), "id": key(*entry)});
        let body = json!({"events": entries.iter().map(event).collect::<Vec<_>>()}).to_string();
        self.try_send("POST", "/api/v1/events/batch", &[json], Some(body.as_bytes()))
    }

    /// The subscription as `GET /webhooks/{id}` shows it.
    #[track_caller]
    pub fn subscription(&self, id: i64) -> Value {
        self.get(&format!("/webhooks/{id}")).expect(200).data().clone()
    }

    /// Changes a part of a subscription.
    #[track_caller]
    pub fn change(&self, id: i64, part: &Value) -> Answer {
        self.put(&format!("/webhooks/{id}"), part).expect(200)
    }

    /// Publishes one event for a subscription to each path of a receiver, and gives the deliveries.
    pub fn deliver_to_each(&self, receiver: &Receiver, paths: &[&str]) -> Vec<String> {
        for path in paths {
            self.subscribe(&receiver.url(path), &["clock_in"]);
        }
        let deliveries = self.delivery_ids(&self.publish("clock_in", &clock_in(1)));
        assert_eq!(deliveries.len(), paths.len());
        deliveries
    }

    /// The ids of an event's deliveries.
    #[track_caller]
    pub fn delivery_ids(&self, event_id: &str) -> Vec<String> {
        let event = self.get(&format!("/events/{event_id}")).expect(200);
        let deliveries = event.data()["deliveries"].as_array().expect("a list of deliveries");
        deliveries.iter().map(|d| d["id"].as_str().expect("a delivery id").to_owned()).collect()
    }

    /// The first attempt of each delivery of an event, when all are settled.
    #[track_caller]
    pub fn first_attempts(&self, event_id: &str) -> Vec<Value> {
        let settled = |id: &String| self.wait_for_delivery(id, "is settled", |found| found["status"] != "pending");
        self.delivery_ids(event_id).iter().map(|id| settled(id)["attempts"][0].clone()).collect()
    }

    /// The only delivery of an event.
    #[track_caller]
    pub fn delivery_of(&self, event_id: &str) -> Value {
        let ids = self.delivery_ids(event_id);
        assert_eq!(ids.len(), 1, "deliveries of {event_id}");
        self.delivery(&ids[0])
    }

    /// A delivery with its attempts.
    #[track_caller]
    pub fn delivery(&self, id: &str) -> Value {
        self.get(&format!("/deliveries/{id}")).expect(200).data().clone()
    }

    /// Waits until a delivery has the status, and gives it.
    #[track_caller]
    pub fn wait_for_status(&self, id: &str, status: &str) -> Value {
        self.wait_for_delivery(id, &format!("is {status}"), |delivery| delivery["status"] == status)
    }

    /// Waits until a delivery is as wished, and gives it.
    #[track_caller]
    pub fn wait_for_delivery(&self, id: &str, what: &str, wish: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let begun = std::time::Instant::now();
        eventually(&format!("delivery {id} {what}"), || {
            last = self.delivery(id);
            assert!(
                begun.elapsed() < PATIENCE || wish(&last),
                "never happened: delivery {id} {what}; last seen as {last:#}"
            );
            wish(&last).then(|| last.clone())
        })
    }

    /// Waits until the only delivery of an event has the status, and gives it.
    #[track_caller]
    pub fn settled(&self, event_id: &str, status: &str) -> Value {
        let ids = self.delivery_ids(event_id);
        assert_eq!(ids.len(), 1, "deliveries of {event_id}");
        self.wait_for_status(&ids[0], status)
    }

    /// The `pagination.total` of a list.
    #[track_caller]
    pub fn total(&self, path: &str) -> u64 {
        let answer = self.get(path).expect(200);
        answer.json["pagination"]["total"].as_u64().unwrap_or_else(|| panic!("no total in {}", answer.text))
    }

    /// Waits until a list has this many rows in total.
    #[track_caller]
    pub fn wait_for_total(&self, path: &str, wanted: u64) {
        eventually(&format!("{path} has {wanted} rows"), || (self.total(path) == wanted).then_some(()));
    }

    /// Sends bytes as they are and reads one answer, or `None` when the server just hangs up. An answer from within
    /// the API has to fit its description.
    #[track_caller]
    pub fn raw(&self, bytes: &[u8]) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A server may refuse and hang up before it has read everything.
        let _ = stream.write_all(bytes);
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some(answer) = parse_answer(&read) {
                let _ = stream.shutdown(Shutdown::Both);
                let line = String::from_utf8_lossy(bytes).into_owned();
                let mut words = line.split(' ');
                if let (Some(method), Some(path), Some(_)) = (words.next(), words.next(), answer.header("x-request-id"))
                {
                    contract::check(method, path, &answer);
                }
                return Some(answer);
            }
            match stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => read.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no whole answer, only {:?}: {error}", String::from_utf8_lossy(&read)),
            }
        }
    }

    /// Head of a raw request with the key, up to but without the empty line.
    pub fn raw_head(&self, method: &str, path: &str) -> String {
        let key = self.key.as_deref().unwrap_or_default();
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\n", self.address)
    }
}

pub fn parse_answer(read: &[u8]) -> Option<Answer> {
    let end = read.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&read[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let length: usize = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.parse().unwrap());
    let body = read.get(end..end + length)?;
    let text = String::from_utf8(body.to_vec()).unwrap();
    let json = serde_json::from_str(&text).unwrap_or_default();
    Some(Answer { asked: "raw bytes".to_owned(), status, headers, text, json })
}

/// The last name in a path such as `events[1].data.worker_id`, places in lists left out.
fn last_name(path: &str) -> &str {
    let is_place = |part: &&str| part.is_empty() || part.bytes().all(|b| b.is_ascii_digit());
    let mut parts = path.split(['.', '/', '[', ']']).filter(|part| !is_place(part));
    parts.next_back().unwrap_or(path)
}

impl Answer {
    /// Panics with the whole answer unless it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} answered {}", self.asked, self.text);
        self
    }

    /// The `data` of the answer.
    #[track_caller]
    pub fn data(&self) -> &Value {
        self.json.get("data").unwrap_or_else(|| panic!("{} gave no data: {}", self.asked, self.text))
    }

    /// The rows of a list.
    #[track_caller]
    pub fn rows(&self) -> &Vec<Value> {
        self.data().as_array().unwrap_or_else(|| panic!("{} gave no list: {}", self.asked, self.text))
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(present, _)| present.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The fields that an error names, in its order.
    #[track_caller]
    pub fn wrong_fields(&self) -> Vec<&str> {
        let errors = self.json["errors"].as_array();
        errors
            .unwrap_or_else(|| panic!("{} named no fields: {}", self.asked, self.text))
            .iter()
            .map(|error| {
                assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{}", self.text);
                error["field"].as_str().expect("the name of a field")
            })
            .collect()
    }

    /// Panics unless this is a 400 that names exactly these fields, in any order. The field of an
    /// event's data may be given with the path to it.
    #[track_caller]
    pub fn expect_wrong(self, wanted: &[&str]) -> Self {
        let this = self.expect(400);
        this.expect_error("invalid_input");
        let mut named: Vec<&str> = this.wrong_fields().into_iter().map(last_name).collect();
        let mut wanted = wanted.to_vec();
        named.sort_unstable();
        named.dedup();
        wanted.sort_unstable();
        assert_eq!(named, wanted, "{} answered {}", this.asked, this.text);
        this
    }

    /// Panics unless the answer is an error of the promised shape with this code.
    #[track_caller]
    pub fn expect_error(&self, code: &str) {
        let seen = format!("{} answered {} {}", self.asked, self.status, self.text);
        assert_eq!(self.header("content-type"), Some("application/json; charset=utf-8"), "{seen}");
        assert_eq!(self.json["error"], true, "{seen}");
        assert_eq!(self.json["status"], self.status, "{seen}");
        assert_eq!(self.json["code"], code, "{seen}");
        assert!(self.json["message"].as_str().is_some_and(|m| !m.is_empty()), "{seen}");
        let id = self.json["request_id"].as_str().unwrap_or_else(|| panic!("no request id: {seen}"));
        assert_eq!(self.header("x-request-id"), Some(id), "{seen}");
    }
}
