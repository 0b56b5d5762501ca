//! One source cannot take all connections.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::harness::{PATIENCE, PUBLIC, Server, eventually, on_an_island};

fn connect_from(source: &str, server: &Server) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    connect(&socket, &server.address()).unwrap();
    TcpStream::from(socket)
}

/// Asks on a connection that is kept, and says whether there was an answer.
fn is_served(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be closed already. The empty line behind the request is the beginning of the next one.
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n\r\n");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"}") {
        match stream.read_exact(&mut byte) {
            Ok(()) => answer.push(byte[0]),
            Err(error) => {
                let is_closed = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind());
                assert!(is_closed && answer.is_empty(), "it is neither answered nor closed: {error}");
                return false;
            }
        }
    }
    answer.starts_with(b"HTTP/1.1 200 OK")
}

#[test]
fn whoever_has_three_quarters_of_the_connections_gets_no_more_and_others_do() {
    on_an_island("clients::sources::whoever_has_three_quarters_of_the_connections_gets_no_more_and_others_do", || {
        let server = Server::start(&[("server.max_connections", "8"), ("server.request_timeout", r#""10m""#)]);
        let mut held: Vec<TcpStream> = (0..6).map(|_| connect_from(PUBLIC, &server)).collect();
        assert!(held.iter_mut().all(is_served));
        assert!(!is_served(&mut connect_from(PUBLIC, &server)), "a seventh connection of one source is served");
        assert!(is_served(&mut connect_from("10.0.0.1", &server)));
        assert!(is_served(&mut connect_from("127.0.0.1", &server)));
        assert!(held.iter_mut().all(is_served), "what a source has it keeps");
        drop(held);
        eventually("the source's places are free", || is_served(&mut connect_from(PUBLIC, &server)).then_some(()));
    });
}
