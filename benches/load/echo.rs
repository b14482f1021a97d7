//! The limit: a bare HTTP server that answers and does nothing, in a process of its own like the daemon.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

/// The running server.
pub struct Echo {
    process: Child,
    socket: PathBuf,
}

impl Echo {
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts this program again as the server.
pub fn start(socket: &Path) -> Echo {
    let process = Command::new(std::env::current_exe().unwrap()).arg("--echo").arg(socket).spawn().unwrap();
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        std::thread::yield_now();
    }
    Echo { process, socket: socket.to_owned() }
}

/// Serves until it is killed.
pub fn serve(socket: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = UnixListener::bind(socket).unwrap();
        loop {
            let (line, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let answer = service_fn(|_: Request<Incoming>| async {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"{\"status\":\"ok\"}"))))
                });
                let _left =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(line), answer).await;
            });
        }
    });
}
