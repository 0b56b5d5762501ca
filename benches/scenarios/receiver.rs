//! The receiver: one process that is any number of endpoints, each on an address of its own, and that measures what
//! arrives: the events carry the time at which they were sent.

mod certificates;
mod serve;
mod tally;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::Result;
use crate::child::{Worker, say};
use tally::Tally;
pub use tally::{GroupReport, Report};

/// Endpoints an address block of this third number holds; keeps clear of .0 and .255.
const PER_BLOCK: usize = 250;

/// How an endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Behaviour {
    /// Answers 200 at once.
    Healthy,
    /// Answers 200 at once, with the headers of nginx.
    Nginx,
    /// Takes the request and never answers.
    Hanging,
    /// Answers 500 at once.
    Failing,
    /// Refuses connections until told to come up; healthy from then on.
    Down,
    /// Takes so many a second, and as many at once after a quiet time; answers 429 beyond that.
    Limited(u32),
    /// Gives an `OAuth2` access token to every request.
    Tokens,
    /// Answers 500 to the events of that worker, and 200 to all others.
    Refusing(u64),
}

/// Endpoints that behave alike and are counted together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    /// What the counts are called.
    pub name: String,
    /// How they behave.
    pub behaviour: Behaviour,
    /// How many.
    pub endpoints: usize,
    /// Options of their subscriptions.
    #[serde(skip)]
    pub options: Map<String, Value>,
}

impl Group {
    /// A group in one line.
    pub fn new(name: &str, behaviour: Behaviour, endpoints: usize) -> Self {
        Self { name: name.to_owned(), behaviour, endpoints, options: Map::new() }
    }

    /// With an option of their subscriptions.
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.options.insert(name.to_owned(), value);
        self
    }
}

/// What the process shall be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Its endpoints.
    pub groups: Vec<Group>,
    /// Speak TLS.
    pub tls: Option<Tls>,
}

/// How it speaks TLS.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tls {
    /// Where the authority's certificate goes.
    pub authority: PathBuf,
    /// Take no caller without a client certificate; one goes here.
    pub client: Option<PemFiles>,
}

/// A certificate and its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PemFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The receiver at work.
pub struct Receiver {
    worker: Worker,
    urls: BTreeMap<String, Vec<String>>,
}

impl Receiver {
    /// Starts it and learns its addresses.
    pub fn start(spec: &Spec) -> Result<Self> {
        let mut worker = Worker::start("receiver", spec)?;
        let urls = worker.listen()?;
        Ok(Self { worker, urls })
    }

    /// The endpoints of a group.
    pub fn urls(&self, group: &str) -> &[String] {
        self.urls.get(group).map_or(&[], Vec::as_slice)
    }

    /// What has arrived since the last `reset`.
    pub fn report(&mut self) -> Result<Report> {
        self.worker.ask("report")
    }

    /// Counts from zero; what was seen before still counts as a double when it comes again.
    pub fn reset(&mut self) -> Result<()> {
        self.worker.ask::<Report>("reset").map(drop)
    }

    /// Lets a group that was down come up.
    pub fn up(&mut self, group: &str) -> Result<()> {
        self.worker.ask::<Report>(&format!("up {group}")).map(drop)
    }
}

/// The receiver's process.
pub fn run(spec: &str) -> Result<()> {
    let spec: Spec = serde_json::from_str(spec)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, serve_all(&spec))
}

async fn serve_all(spec: &Spec) -> Result<()> {
    let mut listeners = Vec::new();
    let mut urls = BTreeMap::<String, Vec<String>>::new();
    let scheme = if spec.tls.is_some() { "https" } else { "http" };
    for group in &spec.groups {
        let list = urls.entry(group.name.clone()).or_default();
        for _ in 0..group.endpoints {
            let listener = TcpListener::bind((address(listeners.len()), 0))?;
            list.push(format!("{scheme}://{}/hook", listener.local_addr()?));
            listeners.push((group, listener));
        }
    }
    let addresses = listeners.iter().map(|(_, listener)| listener.local_addr()).collect::<Result<Vec<_>, _>>()?;
    let mut tls = match &spec.tls {
        Some(tls) => certificates::issue(tls, &addresses)?.into_iter().map(Some).collect(),
        None => vec![None; addresses.len()],
    };
    let tally = Rc::new(RefCell::new(Tally::new(&spec.groups)));
    let mut down = Vec::<(String, usize, SocketAddr)>::new();
    let endpoints = listeners.into_iter().zip(addresses).zip(&mut tls).enumerate();
    for (origin, (((group, listener), address), tls)) in endpoints {
        if group.behaviour == Behaviour::Down {
            // Nobody else uses this address, so its port is still free when the endpoint comes up.
            drop(listener);
            down.push((group.name.clone(), origin, address));
        } else {
            serve::listen(listener, origin, group.behaviour, &tally, tls.take())?;
        }
    }
    let mut commands = commands();
    say(&urls)?;
    while let Some(command) = commands.recv().await {
        match command.split_once(' ').unwrap_or((&command, "")) {
            ("reset", _) => tally.borrow_mut().reset(),
            ("up", name) => {
                for (_, origin, address) in down.extract_if(.., |(group, ..)| group == name) {
                    let tls = tls[origin].take();
                    serve::listen(TcpListener::bind(address)?, origin, Behaviour::Healthy, &tally, tls)?;
                }
            }
            _ => {}
        }
        say(&tally.borrow().report()?)?;
    }
    Ok(())
}

/// An address for each endpoint: another host is another origin, as it is on the net.
fn address(index: usize) -> Ipv4Addr {
    let octet = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 77, octet(index / PER_BLOCK), octet(index % PER_BLOCK + 1))
}

/// Lines of the standard input; ends with it.
fn commands() -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
            if send.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receive
}
