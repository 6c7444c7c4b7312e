//! Requests that go over one HTTP/2 connection at the same time, without TLS ("prior knowledge").

use crate::http::{Request, Response};
use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use std::time::Duration;

/// For all of them together.
const LIMIT: Duration = Duration::from_secs(300);

/// Sends all of these at once on one connection; the answers in the same order.
///
/// # Errors
/// The server speaks no HTTP/2, breaks off, or takes too long.
pub fn at_once(address: SocketAddr, requests: &[Request]) -> Result<Vec<Response>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::time::timeout(LIMIT, exchange(address, requests)).await.context("HTTP/2: no answer in time")?
    })
}

async fn exchange(address: SocketAddr, requests: &[Request]) -> Result<Vec<Response>> {
    let stream = tokio::net::TcpStream::connect(address).await.context("connect")?;
    let (mut sender, connection) = h2::client::handshake(stream).await.context("HTTP/2 handshake")?;
    // Ends with the connection, when all is said.
    let carrier = tokio::spawn(connection);
    let mut waiting = Vec::new();
    for request in requests {
        sender = sender.ready().await.context("HTTP/2 stream")?;
        let (answer, _) = sender.send_request(request.for_http2(address)?, true).context("HTTP/2 request")?;
        waiting.push(tokio::spawn(receive(answer)));
    }
    let mut answers = Vec::new();
    for answer in waiting {
        answers.push(answer.await??);
    }
    drop(sender);
    carrier.abort();
    Ok(answers)
}

async fn receive(answer: h2::client::ResponseFuture) -> Result<Response> {
    let (head, mut body) = answer.await.context("HTTP/2 answer")?.into_parts();
    let headers = head
        .headers
        .iter()
        .map(|(n, v)| (n.as_str().to_owned(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
        .collect();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.context("HTTP/2 body")?;
        bytes.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len()).context("HTTP/2 flow")?;
    }
    Ok(Response { status: head.status.as_u16(), headers, body: bytes, complete: true })
}
