//! Metrics for Prometheus. Labels are fixed words, never names or ids of users (SVC-4).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLoginLabels {
    service: &'static str,
    outcome: &'static str,
}

/// The PAM services that have a label of their own; all others count as `other`. The caller chooses the name, so that
/// any name as a label would let it fill the memory.
const SERVICES: [&str; 22] = [
    "atd",
    "chfn",
    "chsh",
    "cockpit",
    "cron",
    "gdm-password",
    "kscreenlocker",
    "lightdm",
    "login",
    "mfactl",
    "polkit-1",
    "runuser",
    "sddm",
    "sshd",
    "su",
    "su-l",
    "sudo",
    "sudo-i",
    "swaylock",
    "vlock",
    "xdm",
    "xscreensaver",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepsLabel {
    steps: i64,
}

/// Number of hardware keys in each state.
pub(super) type KeyCounts = [(&'static str, usize); 4];

/// The metrics of one daemon.
pub struct Metrics {
    registry: Registry,
    requests: Family<StatusLabel, Counter>,
    /// All answers, whatever their status.
    answered: AtomicU64,
    logins: Family<LoginLabels, Counter>,
    host_logins: Family<HostLoginLabels, Counter>,
    enrolments: Counter,
    panics: Counter<u64, AtomicU64>,
    connections: Gauge,
    refused_connections: Counter,
    store_waiting: Gauge,
    hash_waiting: Gauge,
    commits: Histogram,
    clock_drift: Gauge<f64, AtomicU64>,
    code_drift: Family<StepsLabel, Counter>,
    keys: Family<StateLabel, Gauge>,
    imported: Family<StateLabel, Gauge>,
    readers_reachable: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("mfad");
        let requests = Family::default();
        registry.register("requests", "Answered requests by status", requests.clone());
        let logins = Family::default();
        registry.register("logins", "Login steps by outcome", logins.clone());
        let host_logins = Family::default();
        let help = "Second factors checked for logins to this host, by PAM service and outcome";
        registry.register("host_logins", help, host_logins.clone());
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
        // 13 buckets from 0.25 ms to 1.024 s, each twice the one before.
        let commits = Histogram::new(exponential_buckets(0.000_25, 2.0, 13));
        registry.register("commit_seconds", "Time of a write until it is durable", commits.clone());
        let clock_drift = Gauge::default();
        let help = "How far the wall clock has moved against the time since boot, since the daemon started";
        registry.register("clock_drift_seconds", help, clock_drift.clone());
        let code_drift = Family::default();
        let help = "Accepted time-based codes by how many steps their authenticator is ahead of this host";
        registry.register("code_drift", help, code_drift.clone());
        let keys = Family::default();
        registry.register("hardware_keys", "Hardware keys that are plugged in, by state", keys.clone());
        let imported = Family::default();
        let help = "Imported factors that are not proved by a code yet, or whose secret is shorter than 128 bits";
        registry.register("imported_factors", help, imported.clone());
        let readers_reachable = Gauge::default();
        registry.register(
            "readers_reachable",
            "1 if the smart card service answers, else 0",
            readers_reachable.clone(),
        );
        Self {
            registry,
            requests,
            answered: AtomicU64::new(0),
            logins,
            host_logins,
            enrolments,
            panics,
            connections,
            refused_connections,
            store_waiting,
            hash_waiting,
            commits,
            clock_drift,
            code_drift,
            keys,
            imported,
            readers_reachable,
        }
    }
}

impl Metrics {
    /// Counts an answer with this HTTP status.
    pub fn count_request(&self, status: u16) {
        self.requests.get_or_create(&StatusLabel { status }).inc();
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many answers were counted.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Counts a request that panicked. From then on the daemon is not ready (HTTP-10).
    pub fn count_panic(&self) {
        self.panics.inc();
    }

    /// Sets the number of open connections.
    pub fn set_connections(&self, open: usize) {
        self.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Counts a connection that was refused because of a limit.
    pub fn count_refused_connection(&self) {
        self.refused_connections.inc();
    }

    pub(super) fn count_login(&self, step: &'static str, is_ok: bool) {
        let outcome = if is_ok { "ok" } else { "refused" };
        self.logins.get_or_create(&LoginLabels { step, outcome }).inc();
    }

    pub(super) fn count_host_login(&self, service: &str, is_ok: bool) {
        let service = SERVICES.into_iter().find(|known| *known == service).unwrap_or("other");
        let outcome = if is_ok { "ok" } else { "refused" };
        self.host_logins.get_or_create(&HostLoginLabels { service, outcome }).inc();
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

    /// Returns a function that records the duration of a commit, for the store's writer to call.
    pub fn commit_listener(&self) -> Box<dyn Fn(Duration) + Send> {
        let commits = self.commits.clone();
        Box::new(move |took| commits.observe(took.as_secs_f64()))
    }

    /// Counts an accepted code by the number of time steps its authenticator is ahead of this host. `None`: a HOTP code
    /// or another proof without a step.
    fn count_code(&self, steps_ahead: Option<i64>) {
        if let Some(steps) = steps_ahead {
            self.code_drift.get_or_create(&StepsLabel { steps }).inc();
        }
    }

    /// Counts an accepted second factor. The first code of an imported factor is its enrolment.
    pub(super) fn count_accepted(&self, steps_ahead: Option<i64>, is_first: bool) {
        self.count_code(steps_ahead);
        if is_first {
            self.count_enrolment();
        }
    }

    /// Sets the numbers of imported factors that need attention.
    pub(super) fn set_imported(&self, unproved: i64, weak: i64) {
        for (state, count) in [("unproved", unproved), ("weak", weak)] {
            self.imported.get_or_create(&StateLabel { state }).set(count);
        }
    }

    pub(super) fn set_clock_drift(&self, drift: Duration, is_behind: bool) {
        let seconds = drift.as_secs_f64();
        self.clock_drift.set(if is_behind { -seconds } else { seconds });
    }

    /// Sets the number of hardware keys in each state. `None`: the card readers cannot be reached.
    pub(super) fn set_keys(&self, counts: Option<KeyCounts>) {
        self.readers_reachable.set(i64::from(counts.is_some()));
        for (state, count) in counts.into_iter().flatten() {
            self.keys.get_or_create(&StateLabel { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn text(&self) -> Result<String, Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|cause| Error::Internal(cause.to_string()))?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn svc_4_each_figure_is_shown_as_it_was_set() {
        let metrics = Metrics::default();
        for status in [200, 200, 401] {
            metrics.count_request(status);
        }
        metrics.count_panic();
        metrics.set_connections(7);
        metrics.count_refused_connection();
        metrics.count_login("totp", true);
        metrics.count_login("totp", false);
        metrics.count_login("totp", false);
        metrics.count_enrolment();
        metrics.set_queues(3, 4);
        metrics.commit_listener()(Duration::from_millis(3));
        metrics.count_code(Some(-1));
        metrics.count_code(None);
        metrics.set_imported(6, 2);
        metrics.set_clock_drift(Duration::from_millis(1500), true);
        metrics.set_keys(Some([("new", 1), ("known", 2), ("reset", 0), ("unreachable", 0)]));

        let text = metrics.text().unwrap();

        for line in [
            "requests_total{status=\"200\"} 2",
            "requests_total{status=\"401\"} 1",
            "panics_total 1",
            "connections 7",
            "refused_connections_total 1",
            "logins_total{step=\"totp\",outcome=\"ok\"} 1",
            "logins_total{step=\"totp\",outcome=\"refused\"} 2",
            "enrolments_total 1",
            "imported_factors{state=\"unproved\"} 6",
            "imported_factors{state=\"weak\"} 2",
            "store_waiting 3",
            "hash_waiting 4",
            "commit_seconds_sum 0.003",
            "commit_seconds_count 1",
            "code_drift_total{steps=\"-1\"} 1",
            "clock_drift_seconds -1.5",
            "hardware_keys{state=\"new\"} 1",
            "hardware_keys{state=\"known\"} 2",
            "readers_reachable 1",
        ] {
            assert!(text.lines().any(|shown| shown == format!("mfad_{line}")), "{line}: {text}");
        }
        assert_eq!(text.matches("code_drift_total").count(), 1, "a code of a counter has no drift");
        metrics.set_clock_drift(Duration::from_millis(1500), false);
        metrics.set_keys(None);
        let text = metrics.text().unwrap();
        assert!(text.contains("clock_drift_seconds 1.5") && text.contains("readers_reachable 0"), "{text}");
    }
}
