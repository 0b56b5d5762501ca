//! A name server that answers as a test wishes, over UDP.

use std::{
    collections::HashMap,
    net::{IpAddr, UdpSocket},
    sync::{Arc, Mutex},
    thread,
};

use super::island::NAME_SERVER;

type Rule = Box<dyn Fn(&str, usize) -> NameAnswer + Send>;

/// What is said of a name.
pub enum NameAnswer {
    Addresses(Vec<IpAddr>),
    /// No addresses, and this response code: 2 it failed, 3 there is no such name, 5 it refuses.
    Code(u8),
    Silence,
}

/// Runs until the process ends, as an island does.
pub struct NameServer {
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

impl NameServer {
    /// Answers with the addresses that `rule` gives for a name when it is asked about for the n-th time, counted from
    /// 0; with silence where it gives none.
    pub fn start(rule: impl Fn(&str, usize) -> Option<Vec<IpAddr>> + Send + 'static) -> Self {
        Self::answering(move |name, count| rule(name, count).map_or(NameAnswer::Silence, NameAnswer::Addresses))
    }

    /// The same, where it may also fail.
    pub fn answering(rule: impl Fn(&str, usize) -> NameAnswer + Send + 'static) -> Self {
        let socket = UdpSocket::bind((NAME_SERVER, 53)).unwrap();
        let asked = Arc::new(Mutex::new(HashMap::new()));
        let counts = Arc::clone(&asked);
        let rule: Rule = Box::new(rule);
        thread::spawn(move || {
            let mut answers = HashMap::new();
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let Some((name, kind, end)) = read_question(&buffer[..length]) else { continue };
                // Both kinds of address belong to one look-up, so they have to come from one answer of the rule.
                let seen = answers.entry(name.clone()).or_insert_with(|| (Vec::new(), NameAnswer::Silence));
                if seen.0.is_empty() || seen.0.contains(&kind) {
                    let mut counts = counts.lock().unwrap();
                    let count = counts.entry(name.clone()).or_insert(0);
                    *seen = (Vec::new(), rule(&name, *count));
                    *count += 1;
                }
                seen.0.push(kind);
                let answer = match &seen.1 {
                    NameAnswer::Addresses(addresses) => answer(&buffer[..end], kind, addresses, 0),
                    NameAnswer::Code(code) => answer(&buffer[..end], kind, &[], *code),
                    NameAnswer::Silence => continue,
                };
                let _ = socket.send_to(&answer, from);
            }
        });
        Self { asked }
    }

    /// How often a name was looked up.
    pub fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

/// Name in lower case, type, and where the question ends.
fn read_question(query: &[u8]) -> Option<(String, u16, usize)> {
    let (mut name, mut at) = (String::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = query.get(at..at + length)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    Some((name, kind, at + 4))
}

fn answer(question: &[u8], kind: u16, addresses: &[IpAddr], code: u8) -> Vec<u8> {
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) if kind == TYPE_A => Some(address.octets().to_vec()),
            IpAddr::V6(address) if kind == TYPE_AAAA => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut out = question.to_vec();
    // A final answer with its code; one question, so many records, nothing further.
    out[2..4].copy_from_slice(&[0x85, 0x80 | code]);
    out[4..12].copy_from_slice(&[0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
    for data in records {
        // The name is the question's; it may be remembered for no time at all.
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 0, 0, u8::try_from(data.len()).unwrap()]);
        out.extend(data);
    }
    out
}
