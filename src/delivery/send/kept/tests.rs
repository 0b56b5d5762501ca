//! Which connections are kept, given up and remembered not to be kept.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::delivery::send::kept::*;

impl Idle for TcpStream {
    fn unasked(&mut self) -> Unasked {
        let mut first = [0];
        self.set_nonblocking(true).unwrap();
        match self.peek(&mut first) {
            Ok(0) => Unasked::End,
            Ok(_) if first == *b"s" => Unasked::Stray,
            Ok(_) => Unasked::Bytes,
            Err(_) => Unasked::Nothing,
        }
    }
}

fn server(name: &str) -> ServerName {
    ServerName::of(&format!("http://{name}/hook").parse().unwrap(), None).unwrap()
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

#[test]
fn the_newest_one_to_an_address_of_the_name_is_taken_and_others_are_closed() {
    let kept = KeptConnections::new(4);
    let [old, new]: [SocketAddr; 2] = ["192.0.2.1:443".parse().unwrap(), "192.0.2.2:443".parse().unwrap()];
    let (a, mut far_a) = pair();
    let (b, far_b) = pair();
    kept.put(&server("crm.example"), (new, 0), None, b);
    kept.put(&server("crm.example"), (old, 0), None, a);
    assert!(kept.take(&server("other.example"), &[old, new]).is_none());
    let (_, taken) = kept.take(&server("crm.example"), &[new]).unwrap();
    assert_eq!(taken.peer_addr().unwrap(), far_b.local_addr().unwrap());
    far_a.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(far_a.read(&mut [0]).unwrap(), 0, "the other one is closed");
    assert!(kept.take(&server("crm.example"), &[old, new]).is_none());
}

#[test]
fn a_server_has_so_many_and_all_together_go_from_the_oldest_on() {
    let kept = KeptConnections::new(2);
    let peer = "192.0.2.1:443".parse().unwrap();
    for name in ["a.example", "a.example", "a.example", "b.example"] {
        kept.put(&server(name), (peer, 0), None, pair().0);
    }
    assert!(kept.close_oldest() && kept.close_oldest());
    assert!(kept.take(&server("a.example"), &[peer]).is_none());
    assert!(kept.take(&server("b.example"), &[peer]).is_some());
    assert!(!kept.close_oldest());
}

#[test]
fn a_connection_is_used_again_only_with_the_certificate_that_was_shown_on_it() {
    let kept = KeptConnections::new(4);
    let peer: SocketAddr = "192.0.2.1:443".parse().unwrap();
    let with = |name: Option<&str>| {
        let uri = "https://crm.example/".parse().unwrap();
        ServerName::of(&uri, name.map(Arc::from).as_ref()).unwrap()
    };
    kept.put(&with(Some("north")), (peer, 0), None, pair().0);
    assert!(kept.take(&with(None), &[peer]).is_none() && kept.take(&with(Some("south")), &[peer]).is_none());
    assert!(kept.take(&with(Some("north")), &[peer]).is_some());
}

#[test]
fn none_is_kept_while_a_new_one_waits_and_others_are_answered_on() {
    let kept = Arc::new(KeptConnections::new(4));
    let (peer, name) = ("192.0.2.1:443".parse().unwrap(), server("a.example"));
    let mut others = Vec::new();
    let mut near = || {
        let (near, far) = pair();
        others.push(far);
        near
    };
    let is_kept = |seconds| {
        kept.close_useless(Instant::now() + Duration::from_secs(seconds));
        kept.take(&name, &[peer]).is_some()
    };
    let waiting = kept.wait(&name, Instant::now() + Duration::from_secs(10));
    assert!(!is_kept(11));
    kept.put(&name, (peer, 0), None, near());
    assert!(is_kept(0), "it may be answered soon");
    kept.put(&name, (peer, 0), None, near());
    kept.put(&server("b.example"), (peer, 0), None, near());
    assert!(!is_kept(11));
    assert!(kept.take(&server("b.example"), &[peer]).is_some(), "another server serves it");
    drop(waiting);
    kept.put(&name, (peer, 0), None, near());
    assert!(is_kept(11));
    assert!(kept.lock().by_server.is_empty());
}

#[test]
fn a_server_that_answers_once_the_kept_ones_are_closed_is_remembered_for_a_while() {
    let kept = Arc::new(KeptConnections::new(4));
    let (peer, name) = ("192.0.2.1:443".parse().unwrap(), server("a.example"));
    let mut others = Vec::new();
    let mut near = || {
        let (near, far) = pair();
        others.push(far);
        near
    };
    let now = Instant::now();
    let starved = |of: Duration| {
        let waiting = kept.wait(&name, now);
        let closed_at = now + Duration::from_secs(1);
        kept.lock().by_server.get_mut(&name).unwrap().closed_at = Some(closed_at);
        kept.lock().end_of_wait(&name, waiting.number, closed_at + of);
    };
    // It was slow, and would have been answered anyway.
    starved(SERVED_AFTER_CLOSING + Duration::from_millis(1));
    kept.put(&name, (peer, 0), None, near());
    assert!(kept.take(&name, &[peer]).is_some());
    starved(SERVED_AFTER_CLOSING);
    kept.put(&name, (peer, 0), None, near());
    assert!(kept.take(&name, &[peer]).is_none());
    kept.put(&server("b.example"), (peer, 0), None, near());
    assert!(kept.take(&server("b.example"), &[peer]).is_some());
    kept.lock().without_kept = Remembered::lasting(WITHOUT_KEPT_FOR);
    kept.put(&name, (peer, 0), None, near());
    assert!(kept.take(&name, &[peer]).is_some(), "it may serve more by now");
    assert!(kept.lock().by_server.is_empty());
}

#[test]
fn a_connection_is_given_up_before_the_receiver_closes_it() {
    let kept = KeptConnections::new(4);
    let (peer, name) = ("192.0.2.1:443".parse().unwrap(), server("a.example"));
    let mut others = Vec::new();
    let begun = Instant::now();
    let mut is_kept = |closed_after, seconds| {
        let (near, far) = pair();
        others.push(far);
        kept.put(&name, (peer, 0), closed_after, near);
        kept.close_useless(begun + Duration::from_secs(seconds));
        kept.take(&name, &[peer]).is_some()
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert!(!is_kept(seconds(0), 0) && !is_kept(seconds(1), 0));
    assert!(is_kept(seconds(60), 14) && !is_kept(seconds(60), 70));
    assert!(is_kept(seconds(u64::MAX), 10) && is_kept(None, 10));
    assert!(is_kept(seconds(6), 4) && !is_kept(seconds(6), 70));
}

#[test]
fn what_was_made_before_all_were_closed_does_not_come_back() {
    let kept = KeptConnections::new(2);
    let peer = "192.0.2.1:443".parse().unwrap();
    let before = kept.generation();
    kept.close_all();
    kept.put(&server("a.example"), (peer, before), None, pair().0);
    assert!(kept.take(&server("a.example"), &[peer]).is_none());
    kept.put(&server("a.example"), (peer, kept.generation()), None, pair().0);
    assert!(kept.take(&server("a.example"), &[peer]).is_some());
}

#[test]
fn what_the_other_side_closed_and_what_was_kept_long_enough_is_closed() {
    let kept = KeptConnections::new(1000);
    let peer = "192.0.2.1:443".parse().unwrap();
    let mut others = Vec::new();
    for number in 0..LOOKED_AT + 3 {
        let (near, far) = pair();
        kept.put(&server("a.example"), (peer, 0), None, near);
        if number % 2 == 0 {
            others.push(far);
        }
    }
    let now = Instant::now();
    kept.close_useless(now);
    assert_eq!(kept.lock().by_age.len(), others.len());
    kept.close_useless(now + KEPT_FOR);
    assert!(kept.lock().by_age.is_empty() && kept.lock().by_server.is_empty());
}

#[test]
fn of_a_server_that_is_distrusted_none_is_kept_and_no_other_server_suffers() {
    let kept = KeptConnections::new(4);
    let (peer, name, other) = ("192.0.2.1:443".parse().unwrap(), server("a.example"), server("b.example"));
    kept.put(&name, (peer, 0), None, pair().0);
    kept.put(&other, (peer, 0), None, pair().0);
    kept.distrust(&name);
    assert_eq!(kept.lock().by_age.len(), 1);
    kept.put(&name, (peer, 0), None, pair().0);
    assert!(kept.take(&name, &[peer]).is_none());
    assert!(kept.take(&other, &[peer]).is_some());
    kept.lock().distrusted = Remembered::lasting(DISTRUSTED_FOR);
    kept.put(&name, (peer, 0), None, pair().0);
    assert!(kept.take(&name, &[peer]).is_some());
    assert!(kept.lock().by_server.is_empty());
}

#[test]
fn what_came_on_a_kept_one_closes_it_and_an_answer_to_nothing_is_remembered() {
    let kept = KeptConnections::new(4);
    let peer = "192.0.2.1:443".parse().unwrap();
    let mut others = Vec::new();
    for (name, sent, is_ended) in
        [("quiet", "", false), ("idle", "x", false), ("stray", "s", false), ("end", "s", true)]
    {
        let (near, mut far) = pair();
        let seen = near.try_clone().unwrap();
        kept.put(&server(name), (peer, 0), None, near);
        far.write_all(sent.as_bytes()).unwrap();
        // Until it has arrived.
        while !sent.is_empty() && seen.peek(&mut [0]).is_err() {}
        others.extend((!is_ended).then_some(far));
    }
    kept.close_useless(Instant::now());
    let is_distrusted = |name| kept.lock().distrusted.has(&server(name), Instant::now());
    assert_eq!(["quiet", "idle", "stray", "end"].map(is_distrusted), [false, false, true, true]);
    assert!(kept.take(&server("quiet"), &[peer]).is_some());
    assert!(kept.lock().by_age.is_empty() && kept.lock().by_server.is_empty());
}
