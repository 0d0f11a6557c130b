//! The HTTP client of this program.

use std::time::Duration;

/// A client for URLs like this one; each call takes `timeout` at most.
///
/// # Errors
/// When the platform's certificates are needed and can't be read.
pub(crate) fn new(url: &str, timeout: Duration) -> reqwest::Result<reqwest::Client> {
    // Another installed provider would do as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .timeout(timeout)
        .http1_only()
        .no_proxy()
        .tcp_nodelay(true)
        .pool_max_idle_per_host(usize::MAX);
    if url.starts_with("https:") {
        return builder.build();
    }
    // Reading the platform's certificates takes longer than an order does.
    builder.tls_certs_only([]).build()
}
