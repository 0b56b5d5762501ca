//! Certificates that OpenSSL makes, of kinds that no library of the tests can, and receivers on OpenSSL that serve them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::Process;

/// A key as `openssl genpkey` takes it.
pub type KeyKind = &'static [&'static str];

pub const P256: KeyKind = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub const P384: KeyKind = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
pub const P521: KeyKind = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
pub const RSA: KeyKind = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
pub const RSA_3072: KeyKind = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"];
pub const RSA_1024: KeyKind = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"];
pub const RSA_PSS: KeyKind = &["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"];
pub const RSA_PSS_SHA256: KeyKind = &[
    "-algorithm",
    "RSA-PSS",
    "-pkeyopt",
    "rsa_keygen_bits:2048",
    "-pkeyopt",
    "rsa_pss_keygen_md:sha256",
    "-pkeyopt",
    "rsa_pss_keygen_mgf1_md:sha256",
    "-pkeyopt",
    "rsa_pss_keygen_saltlen:32",
];

/// What a host's certificate says unless a test wishes otherwise.
pub const FOR_LOCALHOST: &str = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n";

/// A certificate of an authority of its own.
pub struct Chain {
    pub authority_key: KeyKind,
    /// The hash with which the authority signs, such as `-sha512`.
    pub hash: &'static str,
    pub key: KeyKind,
    /// The certificate's extensions; without any it is of version 1.
    pub extensions: &'static str,
    /// How long the salt of an authority is that signs with RSA-PSS: `digest` or `max`, which OpenSSL 3.0 takes left alone.
    pub salt: Option<&'static str>,
}

/// A chain as files in a folder.
pub struct ChainFiles {
    pub authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Chain {
    /// Makes it in a folder, under a name.
    #[track_caller]
    pub fn make(&self, folder: &Path, name: &str) -> ChainFiles {
        let file = |end: &str| folder.join(format!("{name}.{end}"));
        let (authority, authority_key) = (file("authority.pem"), file("authority.key"));
        let (certificate, key, request, extensions) = (file("pem"), file("key"), file("csr"), file("ext"));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        openssl(&[&["genpkey", "-out", &text(&authority_key)], self.authority_key].concat());
        openssl(&[&["genpkey", "-out", &text(&key)], self.key].concat());
        let length = format!("rsa_pss_saltlen:{}", self.salt.unwrap_or_default());
        let salt: &[&str] =
            if self.salt.is_some() { &["-sigopt", "rsa_padding_mode:pss", "-sigopt", &length] } else { &[] };
        let subject = format!("/CN=Authority {name}");
        let own = [
            "req",
            "-x509",
            "-new",
            "-key",
            &text(&authority_key),
            "-out",
            &text(&authority),
            "-days",
            "3650",
            "-subj",
            &subject,
            self.hash,
        ];
        openssl(&[&own, salt].concat());
        openssl(&["req", "-new", "-key", &text(&key), "-out", &text(&request), "-subj", "/CN=localhost"]);
        fs::write(&extensions, self.extensions).unwrap();
        let (request, certificate_text) = (text(&request), text(&certificate));
        let (ca, ca_key, extensions_text) = (text(&authority), text(&authority_key), text(&extensions));
        let mut sign = vec![
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-out",
            &certificate_text,
            "-days",
            "3650",
            self.hash,
        ];
        if !self.extensions.is_empty() {
            sign.extend(["-extfile", &extensions_text]);
        }
        sign.extend(salt);
        openssl(&sign);
        ChainFiles { authority, certificate, key }
    }
}

#[track_caller]
fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed; run tests/run");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Receivers that answer every request with 204, each with one of the chains on a port of its own.
pub struct OpensslReceivers {
    _process: Process,
    pub ports: Vec<u16>,
}

/// Every cipher that there is.
pub const ALL_CIPHERS: &str = "ALL:@SECLEVEL=0";

/// Python's, whose TLS is OpenSSL's. The level of security is that of the caller. Some ciphers alone are those of TLS 1.2.
const RECEIVERS: &str = r#"
import http.server, ssl, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
ciphers = sys.argv[1]
for certificate, key in zip(sys.argv[2::2], sys.argv[3::2]):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(ciphers)
    if not ciphers.startswith("ALL:"):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever).start()
    print(server.server_port, flush=True)
"#;

impl OpensslReceivers {
    #[track_caller]
    pub fn start(chains: &[ChainFiles], ciphers: &str) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", RECEIVERS, ciphers]);
        for chain in chains {
            command.args([&chain.certificate, &chain.key]);
        }
        let mut process = Process::spawn(&mut command);
        let ports = chains.iter().map(|_| process.wait_for_line("a port", |_| true).parse().unwrap()).collect();
        Self { _process: process, ports }
    }
}
