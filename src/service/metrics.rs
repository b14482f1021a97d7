//! Counters. Labels are fixed words, never names or ids of users (SVC-4).

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::error::Error;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    step: &'static str,
    outcome: &'static str,
}

/// The counters of one daemon.
pub struct Metrics {
    registry: Registry,
    requests: Family<StatusLabel, Counter>,
    logins: Family<LoginLabels, Counter>,
    enrolments: Counter,
    panics: Counter<u64, AtomicU64>,
    connections: Gauge,
    refused_connections: Counter,
    store_waiting: Gauge,
    hash_waiting: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("mfad");
        let requests = Family::default();
        registry.register("requests", "Answered requests by status", requests.clone());
        let logins = Family::default();
        registry.register("logins", "Login steps by outcome", logins.clone());
        let enrolments = Counter::default();
        registry.register("enrolments", "Factors that became active", enrolments.clone());
        let panics = Counter::default();
        registry.register("panics", "Requests that panicked", panics.clone());
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        let refused_connections = Counter::default();
        registry.register("refused_connections", "Connections over a limit", refused_connections.clone());
        let store_waiting = Gauge::default();
        registry.register("store_waiting", "Writes that wait for the store", store_waiting.clone());
        let hash_waiting = Gauge::default();
        registry.register("hash_waiting", "Requests that wait for a password hash", hash_waiting.clone());
        Self {
            registry,
            requests,
            logins,
            enrolments,
            panics,
            connections,
            refused_connections,
            store_waiting,
            hash_waiting,
        }
    }
}

impl Metrics {
    /// One more answer with that status.
    pub fn count_request(&self, status: u16) {
        self.requests.get_or_create(&StatusLabel { status }).inc();
    }

    /// One more request that panicked. From now on the daemon is not ready (HTTP-10).
    pub fn count_panic(&self) {
        self.panics.inc();
    }

    /// One more connection, or one less.
    pub fn set_connections(&self, open: usize) {
        self.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// One more connection that was over a limit.
    pub fn count_refused_connection(&self) {
        self.refused_connections.inc();
    }

    pub(super) fn count_login(&self, step: &'static str, is_ok: bool) {
        let outcome = if is_ok { "ok" } else { "refused" };
        self.logins.get_or_create(&LoginLabels { step, outcome }).inc();
    }

    pub(super) fn count_enrolment(&self) {
        self.enrolments.inc();
    }

    pub(super) fn panics(&self) -> u64 {
        self.panics.get()
    }

    pub(super) fn set_queues(&self, store: usize, hashes: usize) {
        self.store_waiting.set(i64::try_from(store).unwrap_or(i64::MAX));
        self.hash_waiting.set(i64::try_from(hashes).unwrap_or(i64::MAX));
    }

    pub(super) fn text(&self) -> Result<String, Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|cause| Error::Internal(cause.to_string()))?;
        Ok(text)
    }
}
